#include "storage/postgres_address.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>
#include <stem/error.hpp>

#include "storage/postgres_library.hpp"
#include "storage/postgres_tls.hpp"

namespace stem {
namespace {

// Others wait behind whoever waits in a worker: its renewals, its answers, its watchdog.
constexpr std::chrono::seconds longest_timeout{10};
// The names of channels are made of it, and are cut at 63 bytes.
constexpr std::size_t longest_schema = 48;

[[noreturn]] void refuse(const Url& url, const std::string& why) {
  throw Error(Exit::config, "bad " + url.scheme + ":// address: " + why);
}

using Info = std::unique_ptr<PQconninfoOption, void (*)(PQconninfoOption*)>;

/// All of libpq's, with what they are by its variables and services; empty = unset.
PostgresAddress::Options defaults() {
  const auto& pq = postgres_library();
  const Info all(pq.PQconndefaults(), pq.PQconninfoFree);
  PostgresAddress::Options options;
  for (const auto* one = all.get(); one != nullptr && one->keyword != nullptr; ++one)
    options[one->keyword] = one->val != nullptr ? one->val : "";
  return options;
}

/// Nothing older than TLS 1.2 is spoken, whoever asks for it.
void require_tls_1_2(const Url& url, PostgresAddress::Options& options) {
  const auto& oldest = options.try_emplace("ssl_min_protocol_version", "TLSv1.2").first->second;
  if (oldest != "TLSv1.2" && oldest != "TLSv1.3")
    refuse(url, "ssl_min_protocol_version is TLSv1.2 or TLSv1.3");
  if (const auto newest = options.find("ssl_max_protocol_version");
      newest != options.end() && newest->second != "TLSv1.2" && newest->second != "TLSv1.3")
    refuse(url, "ssl_max_protocol_version is TLSv1.2 or TLSv1.3");
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

std::string schema_from(const Url& url, const std::string& text) {
  constexpr const char* letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
  if (text.empty() || text.size() > longest_schema || text.find_first_not_of(letters) != std::string::npos ||
      text.starts_with("pg_"))
    refuse(url, "schema is made of at most " + std::to_string(longest_schema) +
                    " letters, digits, '_', '.' and '-', and does not begin with pg_");
  return text;
}

PostgresAddress::Options options_from(const Url& url) {
  const auto& pq = postgres_library();
  // Only what stands before the question mark: libpq's messages repeat what they do not like.
  char* why = nullptr;
  const Info parsed(pq.PQconninfoParse(("postgresql://" + url.raw_location).c_str(), &why),
                    pq.PQconninfoFree);
  if (why != nullptr) pq.PQfreemem(why);
  if (!parsed)
    refuse(url, "libpq cannot read it; write it as " + url.scheme +
                    "://USER:PASSWORD@HOST:PORT/DATABASE, with %40 for '@', %3A for ':', %2F for '/' and %25 "
                    "for '%'");
  PostgresAddress::Options options;
  for (const auto* one = parsed.get(); one->keyword != nullptr; ++one)
    if (one->val != nullptr) options[one->keyword] = one->val;
  return options;
}

std::vector<std::string> listed(const std::string& text) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0;;) {
    const auto comma = text.find(',', begin);
    parts.push_back(text.substr(begin, comma - begin));
    if (comma == std::string::npos) return parts;
    begin = comma + 1;
  }
}

/// libpq leaves the time limit of the next server to its blocking call, which tells no SQLSTATE.
std::vector<PostgresAddress::Options> servers_from(const Url& url, const PostgresAddress::Options& options) {
  constexpr std::array<const char*, 3> lists = {"host", "hostaddr", "port"};
  std::size_t count = 1;
  for (const auto* name : lists)
    if (const auto found = options.find(name); found != options.end())
      count = std::max(count, listed(found->second).size());
  std::vector<PostgresAddress::Options> servers(count, options);
  for (const auto* name : lists) {
    const auto found = options.find(name);
    if (found == options.end()) continue;
    const auto parts = listed(found->second);
    if (parts.size() != count && parts.size() != 1)
      refuse(url, std::string("there are not as many of '") + name + "' as of others");
    if (parts.size() != count && std::string(name) != "port")
      refuse(url, std::string("'") + name + "' is missing for some servers");
    for (std::size_t i = 0; i < count; ++i) servers[i][name] = parts[parts.size() == 1 ? 0 : i];
  }
  return servers;
}

}  // namespace

PostgresAddress PostgresAddress::from(const Url& url, const TlsConfig& tls) {
  PostgresAddress address;
  auto options = options_from(url);
  auto effective = defaults();
  for (const auto& [name, value] : url.parameters) {
    if (name == "schema" || name == "namespace") {
      if (name == "namespace" && url.parameters.contains("schema"))
        refuse(url, "schema and namespace mean the same; give one of them");
      address.schema = schema_from(url, value);
    } else if (name == "timeout") {
      address.timeout = timeout_from(url, value);
    } else if (name == "ssl" && value == "true") {
      options["sslmode"] = "require";  // as libpq has it, for addresses that were written for JDBC
    } else if (name == "client_encoding" || name == "replication") {
      refuse(url, "'" + name + "' is not for Stem to change");
    } else if (effective.contains(name)) {
      options[name] = value;
    } else {
      refuse(url, "unknown parameter '" + name +
                      "'; there are schema, timeout, and those of libpq, such as sslmode and sslrootcert");
    }
  }
  const auto given = options;
  const auto authorities = system_authorities_file();
  for (const auto& [name, value] : postgres_tls(tls, given, authorities)) options[name] = value;
  if (url.scheme.ends_with("+ssl")) {
    const auto mode = options.try_emplace("sslmode", "require").first->second;
    if (mode != "require" && !mode.starts_with("verify-"))
      refuse(url, "+ssl asks for TLS, and sslmode does not; sslmode is require, verify-ca or verify-full");
  }
  require_tls_1_2(url, options);
  for (const auto& [name, value] : options) effective[name] = value;
  address.trust = PostgresTrust::from(effective, given, tls, authorities);
  address.connect_timeout = address.timeout;
  if (const auto given = options.find("connect_timeout"); given != options.end()) {
    int seconds = -1;
    const auto* const end = given->second.data() + given->second.size();
    if (std::from_chars(given->second.data(), end, seconds).ptr != end || seconds < 0 || seconds > 10)
      refuse(url, "connect_timeout is a number of seconds, 10 at most");
    if (seconds > 0) address.connect_timeout = std::chrono::seconds{seconds};
    options.erase(given);
  }
  options["client_encoding"] = "UTF8";
  options.try_emplace("fallback_application_name", "stem");
  // A server that vanished without a word is noticed within half a minute by those who only listen.
  options.try_emplace("keepalives_idle", "15");
  options.try_emplace("keepalives_interval", "5");
  options.try_emplace("keepalives_count", "3");
  address.servers = servers_from(url, options);
  return address;
}

bool PostgresAddress::same_place(const PostgresAddress& other) const {
  const auto place = [](const Options& options) {
    Options place;
    for (const auto* name : {"host", "hostaddr", "port", "dbname", "service"})
      if (const auto found = options.find(name); found != options.end()) place.insert(*found);
    // Who names no database has the one of the user's name.
    if (const auto user = options.find("user"); !place.contains("dbname") && user != options.end())
      place["dbname"] = user->second;
    return place;
  };
  return schema == other.schema &&
         std::equal(servers.begin(), servers.end(), other.servers.begin(), other.servers.end(),
                    [&](const auto& a, const auto& b) { return place(a) == place(b); });
}

std::string PostgresAddress::shown(std::size_t server) const {
  const auto& options = servers.at(server);
  const auto value = [&](const char* name) {
    const auto found = options.find(name);
    return found == options.end() ? std::string() : found->second;
  };
  auto host = value("host").empty() ? value("hostaddr") : value("host");
  std::string text = "postgresql://";
  if (host.starts_with('/')) {
    text += "/" + value("dbname") + "?host=" + host;
    if (!value("port").empty()) text += "&port=" + value("port");
    return text;
  }
  if (host.find(':') != std::string::npos) host = "[" + host + "]";
  text += host;
  if (!value("port").empty()) text += ":" + value("port");
  return text + "/" + value("dbname");
}

}  // namespace stem
