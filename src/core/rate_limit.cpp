#include <charconv>
#include <stem/error.hpp>
#include <stem/rate_limit.hpp>

#include "core/name.hpp"

namespace stem {
namespace {

[[noreturn]] void bad(std::string_view text) {
  throw Error(Exit::config, "bad rate limit '" + printable(text) +
                                "'; write a number and a time, 10/s, 100/m, 3/h or 500/d, and if you want "
                                "`burst` and a number: 100/m burst 5");
}

/// A number at the start of `text`, which is taken away.
int number(std::string_view& rest, std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
  if (error != std::errc{} || value < 1) bad(text);
  rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
  return value;
}

}  // namespace

RateLimit RateLimit::parse(std::string_view text) {
  auto rest = text;
  RateLimit limit;
  limit.count = number(rest, text);
  if (rest.size() < 2 || rest[0] != '/') bad(text);
  switch (rest[1]) {
    case 's':
      limit.per = std::chrono::seconds{1};
      break;
    case 'm':
      limit.per = std::chrono::minutes{1};
      break;
    case 'h':
      limit.per = std::chrono::hours{1};
      break;
    case 'd':
      limit.per = std::chrono::days{1};
      break;
    default:
      bad(text);
  }
  rest.remove_prefix(2);
  constexpr std::string_view burst = " burst ";
  if (rest.starts_with(burst)) {
    rest.remove_prefix(burst.size());
    limit.burst = number(rest, text);
  }
  if (!rest.empty()) bad(text);
  limit.validate();
  return limit;
}

void RateLimit::validate() const {
  if (count < 1 || count > 1'000'000)
    throw Error(Exit::config, "a rate limit's count must be from 1 to 1000000");
  if (per < std::chrono::milliseconds{1} || per > std::chrono::days{366})
    throw Error(Exit::config, "a rate limit's time must be from 1ms to 366d");
  if (burst < 0 || burst > 1'000'000)
    throw Error(Exit::config, "a rate limit's burst must be from 1 to 1000000, or 0 for its count");
  // Nanoseconds of it are added to instants.
  constexpr std::int64_t longest_fill = Duration(std::chrono::days{36500}).count();
  if (static_cast<double>(per.count()) / count * capacity() > static_cast<double>(longest_fill))
    throw Error(Exit::config, "a rate limit's burst must come together within 36500d, at its count a time");
}

}  // namespace stem
