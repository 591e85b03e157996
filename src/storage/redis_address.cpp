#include "storage/redis_address.hpp"

#include <charconv>
#include <stem/error.hpp>

namespace stem {
namespace {

constexpr int last_database = 1'000'000;
// Others wait behind whoever waits in a worker: its renewals, its answers, its watchdog.
constexpr std::chrono::seconds longest_timeout{10};

[[noreturn]] void refuse(const Url& url, const std::string& why) {
  throw Error(Exit::config, "bad " + url.scheme + ":// address: " + why);
}

int number_up_to(int most, const std::string& text) {
  int number = -1;
  const auto* const end = text.data() + text.size();
  return std::from_chars(text.data(), end, number).ptr == end && number <= most ? number : -1;
}

int database_from(const Url& url, const std::string& text) {
  const int number = number_up_to(last_database, text);
  if (number < 0) refuse(url, "the database is a number, such as 0");
  return number;
}

Duration timeout_from(const Url& url, const std::string& text) {
  try {
    if (const auto timeout = parse_duration(text); timeout > Duration{} && timeout <= longest_timeout)
      return timeout;
  } catch (const Error&) {
    // Its message would repeat the text.
  }
  refuse(url, "timeout is a duration of at most " + format_duration(longest_timeout) + ", such as 5s");
}

/// `PASSWORD`, `:PASSWORD` or `USER:PASSWORD`.
void take_credentials(RedisAddress& address, const Url& url, std::string_view text) {
  const auto colon = text.find(':');
  if (colon != std::string_view::npos) address.user = url.decoded(text.substr(0, colon));
  address.password = url.decoded(colon == std::string_view::npos ? text : text.substr(colon + 1));
  if (address.password.empty())
    refuse(url, "what stands before '@' has no password; write USER:PASSWORD@ or :PASSWORD@");
}

void take_host(RedisAddress& address, const Url& url, std::string_view text) {
  auto port = std::string_view();
  if (text.starts_with('[')) {
    const auto bracket = text.find(']');
    if (bracket == std::string_view::npos) refuse(url, "an IPv6 address is written in brackets: [::1]");
    address.host = text.substr(1, bracket - 1);
    port = text.substr(bracket + 1);
  } else {
    const auto colon = text.find(':');
    if (colon > 0) address.host = url.decoded(text.substr(0, colon));
    if (text.empty()) address.host = "localhost";
    if (colon != std::string_view::npos) port = text.substr(colon);
  }
  if (port.empty()) return;
  address.port = port.substr(1);
  if (port.front() != ':' || number_up_to(65535, address.port) < 1)
    refuse(url, "the port is a number from 1 to 65535");
}

}  // namespace

RedisAddress RedisAddress::from(const Url& url) {
  RedisAddress address;
  const bool socket = url.scheme == "redis+socket";
  address.secure = url.scheme == "rediss";
  std::string_view rest = url.raw_location;
  // A socket's path may have an '@' of its own: credentials end before the first slash.
  const auto at = rest.substr(0, rest.find('/')).rfind('@');
  if (at != std::string_view::npos) {
    take_credentials(address, url, rest.substr(0, at));
    rest.remove_prefix(at + 1);
  }
  if (socket) {
    address.path = url.decoded(rest);
    if (!address.path.starts_with('/'))
      refuse(url, "the path must be absolute: redis+socket:///run/redis/redis.sock");
  } else {
    const auto slash = rest.find('/');
    take_host(address, url, rest.substr(0, slash));
    if (slash != std::string_view::npos && slash + 1 < rest.size())
      address.database = database_from(url, url.decoded(rest.substr(slash + 1)));
  }
  for (const auto& [name, value] : url.parameters) {
    if (name == "timeout") {
      address.timeout = timeout_from(url, value);
    } else if (name == "namespace") {
      address.name_space = value;
      if (value.empty() ||
          value.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") !=
              std::string::npos)
        refuse(url, "namespace is made of letters, digits, '.', '_' and '-'");
    } else if (name == "db" && socket) {
      address.database = database_from(url, value);
    } else {
      refuse(url, "unknown parameter '" + name + "'; there are " + (socket ? "db, " : "") +
                      "namespace and timeout");
    }
  }
  return address;
}

std::string RedisAddress::shown() const {
  if (!path.empty()) return "redis+socket://" + path;
  return (secure ? "rediss://" : "redis://") +
         (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + port;
}

}  // namespace stem
