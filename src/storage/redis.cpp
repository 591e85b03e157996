#include "storage/redis.hpp"

#include "storage/redis_broker.hpp"
#include "storage/redis_store.hpp"
#include "storage/tls_context.hpp"

namespace stem {

Storage open_redis(const Url& url, const TlsConfig& tls, const Clock& clock) {
  auto address = RedisAddress::from(url);
  if (address.secure) address.tls = std::make_shared<TlsContext>(tls);
  const auto client = std::make_shared<RedisClient>(std::move(address));
  return {std::make_shared<RedisBroker>(client, clock), std::make_shared<RedisStore>(client, clock)};
}

}  // namespace stem
