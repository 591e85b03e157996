#include "storage/tls_look.hpp"

#include "storage/postgres.hpp"
#include "storage/redis_connection.hpp"

namespace stem {
namespace {

bool is_postgres(const Url& url) {
  return url.scheme.starts_with("postgres");
}

}  // namespace

bool has_tls_to_look_at(const std::string& text, const TlsConfig& tls) {
  if (text.empty()) return false;
  const auto url = Url::parse(text);
  return url.scheme == "rediss" || (is_postgres(url) && postgres_asks_for_tls(url, tls));
}

TlsLook look_at_tls(const std::string& text, const TlsConfig& tls) {
  const auto url = Url::parse(text);
  if (is_postgres(url)) return look_at_postgres_tls(url, tls);
  auto address = RedisAddress::from(url);
  address.tls = std::make_shared<TlsContext>(tls);
  const RedisConnection connection(address);
  const auto& stream = *connection.tls();
  return {.version = stream.version(),
          .cipher = stream.cipher(),
          .server = stream.peer(),
          .client = address.tls->client(),
          .authorities = address.tls->authorities(),
          .config = tls,
          .names = {},
          .unchecked = {}};
}

}  // namespace stem
