#include "storage/tls_look.hpp"

#include "storage/redis_connection.hpp"

namespace stem {

bool has_tls_to_look_at(const std::string& url) { return !url.empty() && Url::parse(url).scheme == "rediss"; }

TlsLook look_at_tls(const std::string& url, const TlsConfig& tls) {
  auto address = RedisAddress::from(Url::parse(url));
  address.tls = std::make_shared<TlsContext>(tls);
  const RedisConnection connection(address);
  const auto& stream = *connection.tls();
  return {stream.version(), stream.cipher(), stream.peer(), address.tls->client(), address.tls->authorities()};
}

}  // namespace stem
