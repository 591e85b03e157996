#include "storage/postgres_subscription.hpp"

#include <algorithm>

#include "storage/postgres_connection.hpp"

namespace stem {
namespace {

class PostgresSubscription : public Subscription {
 public:
  PostgresSubscription(const PostgresAddress& address, const std::string& channel) : connection_(address) {
    connection_.execute("LISTEN \"" + channel + "\"");
  }

  int fd() const override { return connection_.fd(); }
  bool drain(const std::function<void(std::string_view)>& hear) override { return connection_.drain(hear); }

 private:
  PostgresConnection connection_;
};

}  // namespace

ServerWatch::Subscribe postgres_subscription(PostgresAddress address, std::string channel) {
  return [address = std::move(address), channel = std::move(channel)](Duration patience) {
    auto hurried = address;
    hurried.timeout = std::min(address.timeout, patience);
    hurried.connect_timeout = std::min(address.connect_timeout, patience);
    return std::make_unique<PostgresSubscription>(hurried, channel);
  };
}

}  // namespace stem
