#pragma once

#include <hiredis/read.h>

#include <cstdint>
#include <memory>
#include <memory_resource>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace stem {

/// One value of a reply. Lives as long as the RedisReply it is part of.
struct RedisValue {
  int type = REDIS_REPLY_NIL;  ///< REDIS_REPLY_…
  std::int64_t integer = 0;
  std::string_view text;  ///< of a string, a status or an error
  std::pmr::vector<RedisValue*> elements;

  bool is_error() const { return type == REDIS_REPLY_ERROR; }
  bool is_nil() const { return type == REDIS_REPLY_NIL; }
  std::size_t size() const { return elements.size(); }
  /// Throws Error (exit 70) if there is no such element: whoever answered is not the Redis that Stem knows.
  const RedisValue& operator[](std::size_t index) const;
  /// An integer, or text that holds one. Throws Error (exit 70).
  std::int64_t number() const;
};

/// A whole reply, in one piece of memory.
class RedisReply {
 public:
  using Memory = std::unique_ptr<std::pmr::monotonic_buffer_resource>;
  RedisReply(Memory memory, const RedisValue* root) : memory_(std::move(memory)), root_(root) {}

  const RedisValue& operator*() const { return *root_; }
  const RedisValue* operator->() const { return root_; }

 private:
  Memory memory_;
  const RedisValue* root_;
};

/// hiredis' protocol reader, fed by hand.
class RedisReader {
 public:
  RedisReader();

  void feed(const char* bytes, std::size_t size) { redisReaderFeed(reader_.get(), bytes, size); }
  /// The next reply that is there whole. Throws Error (exit 69) on bytes that are not Redis' protocol.
  std::optional<RedisReply> next();

 private:
  struct Free {
    void operator()(redisReader* reader) const { redisReaderFree(reader); }
  };
  static RedisValue* make(const redisReadTask* task, int type);

  RedisReply::Memory memory_;
  std::unique_ptr<redisReader, Free> reader_;
};

}  // namespace stem
