#include "core/redaction.hpp"

#include <algorithm>
#include <array>

namespace stem {
namespace {

constexpr std::string_view hidden = "***";

/// Parameters whose values are worth reading, and no secret in any database's address: SQLite's, ours, and
/// all of libpq's but `password` and `sslpassword`. Paths of keys are no keys.
constexpr std::array harmless = std::to_array<std::string_view>({"application_name",
                                                                 "busy_timeout",
                                                                 "channel_binding",
                                                                 "client_encoding",
                                                                 "connect_timeout",
                                                                 "db",
                                                                 "dbname",
                                                                 "fallback_application_name",
                                                                 "gssdelegation",
                                                                 "gssencmode",
                                                                 "gsslib",
                                                                 "host",
                                                                 "hostaddr",
                                                                 "keepalives",
                                                                 "keepalives_count",
                                                                 "keepalives_idle",
                                                                 "keepalives_interval",
                                                                 "krbsrvname",
                                                                 "load_balance_hosts",
                                                                 "namespace",
                                                                 "options",
                                                                 "passfile",
                                                                 "port",
                                                                 "replication",
                                                                 "require_auth",
                                                                 "requirepeer",
                                                                 "requiressl",
                                                                 "schema",
                                                                 "service",
                                                                 "ssl",
                                                                 "ssl_max_protocol_version",
                                                                 "ssl_min_protocol_version",
                                                                 "sslcert",
                                                                 "sslcertmode",
                                                                 "sslcompression",
                                                                 "sslcrl",
                                                                 "sslcrldir",
                                                                 "sslkey",
                                                                 "sslmode",
                                                                 "sslnegotiation",
                                                                 "sslrootcert",
                                                                 "sslsni",
                                                                 "synchronous",
                                                                 "target_session_attrs",
                                                                 "tcp_user_timeout",
                                                                 "timeout",
                                                                 "user"});

bool is_scheme_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '+' || c == '.' ||
         c == '-';
}

std::string one_line(std::string_view text) {
  std::string line(text);
  std::replace_if(
      line.begin(), line.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  return line;
}

std::string parameters(std::string_view query) {
  std::string shown;
  while (!query.empty()) {
    const auto one = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), one.size() + 1));
    const auto equals = one.find('=');
    shown += shown.empty() ? '?' : '&';
    if (equals == one.npos) {
      shown += hidden;
      continue;
    }
    const auto name = one.substr(0, equals);
    shown += one_line(name) + '=';
    shown += std::find(harmless.begin(), harmless.end(), name) == harmless.end()
                 ? std::string(hidden)
                 : one_line(one.substr(equals + 1));
  }
  return shown;
}

/// `host`, `host:123`, `[::1]:123`: then what follows a colon is no password.
bool is_host(std::string_view authority) {
  const auto colon = authority.rfind(':');
  const auto digits = colon == authority.npos ? std::string_view{} : authority.substr(colon + 1);
  const auto host = authority.substr(0, colon);
  return !host.empty() && digits.find_first_not_of("0123456789") == digits.npos;
}

}  // namespace

std::string redacted_url(std::string_view url) {
  const auto mark = url.find("://");
  if (mark == url.npos || mark == 0 ||
      !std::all_of(url.begin(), url.begin() + static_cast<std::ptrdiff_t>(mark), is_scheme_character))
    return std::string(url.empty() ? url : hidden);
  std::string shown(url.substr(0, mark + 3));
  auto rest = url.substr(mark + 3);
  // Up to the last `@`: passwords are written with `/`, `?` and `@` in them, whatever the standard asks for.
  if (const auto at = rest.rfind('@'); at != rest.npos && !rest.starts_with('/')) {
    const auto person = rest.substr(0, at);
    const auto colon = person.find(':');
    if (colon != person.npos) shown += one_line(person.substr(0, colon)) + ':';
    shown += std::string(hidden) + '@';
    rest.remove_prefix(at + 1);
  } else if (!rest.starts_with('/') && rest.find(':') != rest.npos &&
             !is_host(rest.substr(0, rest.find_first_of("/?#")))) {
    return shown + std::string(hidden);
  }
  rest = rest.substr(0, rest.find('#'));
  const auto question = rest.find('?');
  shown += one_line(rest.substr(0, question));
  return question == rest.npos ? shown : shown + parameters(rest.substr(question + 1));
}

std::string redacted(std::string_view text) {
  std::string shown;
  for (;;) {
    const auto mark = text.find("://");
    if (mark == text.npos) return shown + std::string(text);
    auto begin = mark;
    while (begin > 0 && is_scheme_character(text[begin - 1])) --begin;
    auto end = std::min(text.find_first_of(" \t\r\n'\"`<>", mark), text.size());
    // A password with a blank or a quote in it would be cut in two: then the address goes to the line's last
    // `@`.
    const auto authority = text.substr(mark + 3, end - mark - 3);
    if (authority.find('@') == authority.npos && !authority.starts_with('/') &&
        !is_host(authority.substr(0, authority.find_first_of("/?#")))) {
      const auto line = text.substr(0, std::min(text.find('\n', mark), text.size()));
      if (const auto at = line.rfind('@'); at != line.npos && at > end)
        end = std::min(text.find_first_of(" \t\r\n'\"`<>", at), text.size());
    }
    shown += text.substr(0, begin);
    shown += redacted_url(text.substr(begin, end - begin));
    text.remove_prefix(end);
  }
}

}  // namespace stem
