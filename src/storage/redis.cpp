#include "storage/redis.hpp"

#include "storage/redis_broker.hpp"
#include "storage/redis_store.hpp"

namespace stem {

Storage open_redis(const Url& url, const Clock& clock) {
  const auto client = std::make_shared<RedisClient>(RedisAddress::from(url));
  return {std::make_shared<RedisBroker>(client, clock), std::make_shared<RedisStore>(client, clock)};
}

}  // namespace stem
