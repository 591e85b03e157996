#pragma once

#include <string>

namespace stem {

/// A program that Redis runs in one piece: nobody sees the middle of it. KEYS[1] is the namespace; the
/// arguments are told beside each text, in redis_script_*.cpp. Times are microseconds since the epoch unless
/// they are scores of the delayed jobs, which are milliseconds with three decimals. docs/redis.md tells the
/// keys.
class RedisScript {
 public:
  constexpr explicit RedisScript(const char* body) : body_(body) {}
  /// Put together when it is asked for: a process that never uses Redis pays nothing.
  std::string text() const;

  static const RedisScript publish, exchange, promote, renew, next_due, find, depths, replay, purge,
      broadcast, listen;
  static const RedisScript put, erase, list, sweep;

 private:
  const char* body_;
};

}  // namespace stem
