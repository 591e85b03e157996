#include "core/listen_address.hpp"

#include <arpa/inet.h>

#include <charconv>
#include <stem/error.hpp>

#include "core/name.hpp"

namespace stem {

ListenAddress ListenAddress::from(std::string_view text) {
  const auto refuse = [&] {
    return Error(Exit::usage, "'" + printable(text) + "' is no address to listen at; it is " + accepted);
  };
  ListenAddress address;
  if (text.starts_with("unix:")) {
    address.path = text.substr(5);
    if (!address.path.starts_with('/') || address.path.ends_with('/') ||
        address.path.find('\0') != std::string::npos)
      throw refuse();
    return address;
  }
  const auto colon = text.rfind(':');
  const auto digits = colon == text.npos ? text : text.substr(colon + 1);
  auto host = colon == text.npos ? std::string_view() : text.substr(0, colon);
  const auto [rest, error] = std::from_chars(digits.data(), digits.data() + digits.size(), address.port);
  if (digits.empty() || error != std::errc{} || rest != digits.data() + digits.size()) throw refuse();
  if (host.empty() || host == "localhost") host = "127.0.0.1";
  address.is_v6 = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (address.is_v6) host = host.substr(1, host.size() - 2);
  address.host = host;
  unsigned char parsed[sizeof(in6_addr)];
  if (inet_pton(address.is_v6 ? AF_INET6 : AF_INET, address.host.c_str(), parsed) != 1) throw refuse();
  return address;
}

std::string ListenAddress::text() const {
  if (is_unix()) return "unix:" + path;
  return (is_v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

bool ListenAddress::is_local() const {
  if (is_unix()) return true;
  if (!is_v6) return host.starts_with("127.");
  in6_addr parsed{};
  inet_pton(AF_INET6, host.c_str(), &parsed);
  return IN6_IS_ADDR_LOOPBACK(&parsed);
}

}  // namespace stem
