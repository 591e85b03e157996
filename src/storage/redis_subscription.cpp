#include "storage/redis_subscription.hpp"

#include <algorithm>

#include "storage/redis_connection.hpp"

namespace stem {
namespace {

class RedisSubscription : public Subscription {
 public:
  RedisSubscription(const RedisAddress& address, const std::string& channel) : connection_(address) {
    std::string bytes;
    RedisCommand{"SUBSCRIBE", channel}.append_to(bytes);
    connection_.send(bytes);
    if (const auto reply = connection_.receive(); reply->is_error())
      throw redis_error("Redis at " + address.shown(), reply->text);
  }

  int fd() const override { return connection_.fd(); }
  bool drain(const std::function<void(std::string_view)>& hear) override {
    return connection_.drain([&](const RedisValue& message) {
      // `message`, channel, text
      if (hear && message.size() == 3) hear(message[2].text);
    });
  }

 private:
  RedisConnection connection_;
};

}  // namespace

ServerWatch::Subscribe redis_subscription(RedisAddress address, std::string channel) {
  return [address = std::move(address), channel = std::move(channel)](Duration patience) {
    auto hurried = address;
    hurried.timeout = std::min(address.timeout, patience);
    return std::make_unique<RedisSubscription>(hurried, channel);
  };
}

}  // namespace stem
