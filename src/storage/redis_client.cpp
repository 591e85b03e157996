#include "storage/redis_client.hpp"

namespace stem {

template <class Conversation>
auto RedisClient::converse(Conversation conversation) {
  const std::lock_guard lock(mutex_);
  if (connection_ && connection_->is_stale()) connection_.reset();
  if (!connection_) {
    digests_.clear();
    connect();
  }
  try {
    return conversation(*connection_);
  } catch (...) {
    // What is still to come would be taken for the answer to the next question.
    connection_.reset();
    throw;
  }
}

void RedisClient::connect() {
  try {
    connection_ = std::make_unique<RedisConnection>(address_);
    was_connected_ = true;
  } catch (const Error& error) {
    if (address_.tls && was_connected_ && error.code() == Exit::config)
      throw Error(Exit::unavailable, error.what());
    throw;
  }
}

std::vector<RedisReply> RedisClient::run(const std::vector<RedisCall>& calls) {
  auto replies = converse([&](RedisConnection& connection) {
    std::string bytes;
    std::vector<bool> taught;
    const auto append = [&](const RedisCall& call) {
      const auto digest = digests_.find(&call.script);
      taught.push_back(digest == digests_.end());
      RedisCommand command;
      if (taught.back()) {
        RedisCommand{"SCRIPT", "LOAD", call.script.text()}.append_to(bytes);
        command.add("EVAL").add(call.script.text());
      } else {
        command.add("EVALSHA").add(digest->second);
      }
      command.add("1").add(address_.name_space).add(call.arguments).append_to(bytes);
    };
    for (const auto& call : calls) append(call);
    connection.send(bytes);
    const auto receive = [&](const RedisCall& call, bool teaching) {
      if (teaching) {
        const auto loaded = connection.receive();
        if (!loaded->is_error()) digests_[&call.script] = loaded->text;
      }
      return connection.receive();
    };
    std::vector<RedisReply> answers;
    for (std::size_t i = 0; i < calls.size(); ++i) answers.push_back(receive(calls[i], taught[i]));
    // Somebody flushed the server's scripts, or another server took over.
    for (std::size_t i = 0; i < calls.size(); ++i) {
      if (!answers[i]->is_error() || !answers[i]->text.starts_with("NOSCRIPT")) continue;
      digests_.erase(&calls[i].script);
      bytes.clear();
      append(calls[i]);
      connection.send(bytes);
      answers[i] = receive(calls[i], true);
    }
    return answers;
  });
  for (const auto& reply : replies)
    if (reply->is_error()) throw redis_error("Redis at " + address_.shown(), reply->text);
  return replies;
}

RedisReply RedisClient::run(const RedisScript& script, const RedisCommand& arguments) {
  return std::move(run({{script, arguments}}).front());
}

std::vector<RedisReply> RedisClient::ask(const std::vector<RedisCommand>& commands) {
  auto replies = converse([&](RedisConnection& connection) {
    std::string bytes;
    for (const auto& command : commands) command.append_to(bytes);
    connection.send(bytes);
    std::vector<RedisReply> answers;
    for (std::size_t i = 0; i < commands.size(); ++i) answers.push_back(connection.receive());
    return answers;
  });
  for (const auto& reply : replies)
    if (reply->is_error()) throw redis_error("Redis at " + address_.shown(), reply->text);
  return replies;
}

}  // namespace stem
