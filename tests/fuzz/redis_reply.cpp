#include <stem/error.hpp>

#include "storage/redis_fields.hpp"
#include "storage/redis_reply.hpp"
#include "target.hpp"

namespace {

/// The same replies come out however the bytes are cut.
std::size_t replies_in(const std::string& text, std::size_t piece) {
  stem::RedisReader reader;
  std::size_t count = 0;
  try {
    for (std::size_t at = 0; at < text.size(); at += piece) {
      reader.feed(text.data() + at, std::min(piece, text.size() - at));
      while (const auto reply = reader.next()) {
        ++count;
        try {
          (void)stem::read_entry(**reply);
        } catch (const stem::Error& error) {
          require_message(error.what(), text);
        }
      }
    }
  } catch (const stem::Error& error) {
    require(error.code() == stem::Exit::unavailable, "what is not Redis is unavailable", text);
    require_message(error.what(), text);
  }
  return count;
}

bool check(const std::string& text) {
  const auto count = replies_in(text, text.size() + 1);
  require(count == replies_in(text, 1), "the same replies byte by byte", text);
  return count > 0;
}

const Target redis_reply{"redis-reply", check};

}  // namespace
