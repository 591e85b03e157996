#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "storage/redis_connection.hpp"
#include "storage/redis_script.hpp"

namespace stem {

/// A script and what it is called with.
struct RedisCall {
  const RedisScript& script;
  RedisCommand arguments;
};

/// The connection that a broker and a store share. Connects when it is first used, and again after it was
/// lost: each failure is thrown, the next call tries anew. Thread-safe: one conversation at a time.
class RedisClient {
 public:
  explicit RedisClient(RedisAddress address) : address_(std::move(address)) {}

  /// Runs scripts, sent in one write. Throws Error as RedisConnection does, or what redis_error() makes of
  /// the first error reply.
  std::vector<RedisReply> run(const std::vector<RedisCall>& calls);
  RedisReply run(const RedisScript& script, const RedisCommand& arguments);
  /// Plain commands, sent in one write.
  std::vector<RedisReply> ask(const std::vector<RedisCommand>& commands);

  const RedisAddress& address() const { return address_; }
  /// The name of one of our keys.
  std::string key(const std::string& name) const { return address_.name_space + ":" + name; }
  /// Channels are the server's, not a database's.
  std::string channel(const std::string& name) const {
    return key("wake:" + name + ":" + std::to_string(address_.database));
  }

 private:
  template <class Conversation>
  auto converse(Conversation conversation);
  /// What is wrong with TLS after it was right once (78) is on the server's side, and may pass (69).
  void connect();

  const RedisAddress address_;
  std::mutex mutex_;
  std::unique_ptr<RedisConnection> connection_;
  bool was_connected_ = false;
  std::map<const RedisScript*, std::string> digests_;  // of what the server was told on this connection
};

}  // namespace stem
