#pragma once

#include <hiredis/hiredis.h>

#include "../unit/redis_server.hpp"
#include "worker_figures.hpp"

/// The least that any worker on Redis Streams does, through hiredis: read 100, then acknowledge and delete
/// them and read the next 100 in one pipeline. It keeps no ids, leases of several workers, priorities, or
/// results.
class BareRedis {
 public:
  explicit BareRedis(const RedisServer& server) : context_(redisConnectUnix(server.socket().c_str())) {
    if (context_ == nullptr || context_->err != 0) throw std::runtime_error("redisConnectUnix");
  }
  ~BareRedis() { redisFree(context_); }
  BareRedis(const BareRedis&) = delete;
  BareRedis& operator=(const BareRedis&) = delete;

  /// The same bytes as ours, field by field, without what ours keeps beside them; one pipeline.
  void publish(std::span<const stem::Envelope> jobs) {
    for (const auto& job : jobs) {
      const auto args = job.args.dump(), meta = job.meta.dump(), at = stem::format_time(job.enqueued_at);
      redisAppendCommand(context_,
                         "XADD bare * id %s name %s args %s headers {} enqueuedAt %s notBefore %s priority 0 "
                         "attempt 0 maxRetries 3 "
                         "visibilityTimeout %s queue default meta %s",
                         job.id.c_str(), job.name.c_str(), args.c_str(), at.c_str(), "", "", meta.c_str());
    }
    for (std::size_t i = 0; i < jobs.size(); ++i) freeReplyObject(next());
  }
  double drain(std::size_t count) {
    ask("XGROUP CREATE bare workers 0 MKSTREAM");
    const auto begin = SteadyClock::now();
    std::size_t done = 0;
    std::vector<std::string> entries;
    do {
      end(entries);
      redisAppendCommand(context_, "XREADGROUP GROUP workers one COUNT %d STREAMS bare >",
                         static_cast<int>(bare_batch));
      if (!entries.empty()) {
        freeReplyObject(next());
        freeReplyObject(next());
      }
      done += entries.size();
      entries = take();
    } while (!entries.empty());
    const double length = seconds_since(begin);
    ask("DEL bare");
    if (done != count) throw std::runtime_error("the bare loop left jobs");
    return static_cast<double>(count) / length;
  }

  /// Blocks in the server until there is something.
  static void consume(const RedisServer& server, const std::function<void()>& started) {
    BareRedis bare(server);
    bare.ask("XGROUP CREATE bare workers $ MKSTREAM");
    for (;;) {
      redisAppendCommand(bare.context_, "XREADGROUP GROUP workers one COUNT 1 BLOCK 0 STREAMS bare >");
      const auto entries = bare.take();
      started();
      bare.end(entries);
      freeReplyObject(bare.next());
      freeReplyObject(bare.next());
    }
  }
  static std::function<void(std::size_t)> produce(const RedisServer& server) {
    const auto bare = std::make_shared<BareRedis>(server);
    bare->ask("XGROUP CREATE bare workers $ MKSTREAM");  // whoever is first makes it
    return [bare](std::size_t number) {
      const auto job = some_job(number);
      bare->publish({&job, 1});
    };
  }

 private:
  void ask(const char* command) { freeReplyObject(redisCommand(context_, command)); }
  void end(const std::vector<std::string>& entries) {
    for (const auto* command : {"XACK", "XDEL"}) {
      if (entries.empty()) break;
      std::vector<const char*> words{command, "bare"};
      if (command[1] == 'A') words.push_back("workers");
      for (const auto& entry : entries) words.push_back(entry.c_str());
      redisAppendCommandArgv(context_, static_cast<int>(words.size()), words.data(), nullptr);
    }
  }
  std::vector<std::string> take() {
    std::vector<std::string> entries;
    auto* const reply = next();
    if (reply->type == REDIS_REPLY_ARRAY)
      for (std::size_t i = 0; i < reply->element[0]->element[1]->elements; ++i)
        entries.emplace_back(reply->element[0]->element[1]->element[i]->element[0]->str);
    freeReplyObject(reply);
    return entries;
  }
  redisReply* next() {
    void* reply = nullptr;
    if (redisGetReply(context_, &reply) != REDIS_OK) throw std::runtime_error("redisGetReply");
    return static_cast<redisReply*>(reply);
  }

  redisContext* context_;
};
