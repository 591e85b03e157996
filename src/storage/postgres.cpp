#include "storage/postgres.hpp"

#include "storage/postgres_broker.hpp"
#include "storage/postgres_store.hpp"

namespace stem {

Storage open_postgres(const Url& url, const TlsConfig& tls, const Clock& clock) {
  const auto client = std::make_shared<PostgresClient>(PostgresAddress::from(url, tls));
  return {std::make_shared<PostgresBroker>(client, clock), std::make_shared<PostgresStore>(client, clock)};
}

}  // namespace stem
