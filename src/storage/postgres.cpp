#include "storage/postgres.hpp"

#include "storage/postgres_broker.hpp"
#include "storage/postgres_handshake.hpp"
#include "storage/postgres_store.hpp"

namespace stem {

Storage open_postgres(const Url& url, const TlsConfig& tls, const Clock& clock) {
  auto address = PostgresAddress::from(url, tls);
  address.trust.require_files();
  const auto client = std::make_shared<PostgresClient>(std::move(address));
  return {std::make_shared<PostgresBroker>(client, clock), std::make_shared<PostgresStore>(client, clock)};
}

bool postgres_asks_for_tls(const Url& url, const TlsConfig& tls) {
  return PostgresAddress::from(url, tls).trust.asked;
}

TlsLook look_at_postgres_tls(const Url& url, const TlsConfig& tls) {
  const auto address = PostgresAddress::from(url, tls);
  address.trust.require_files();
  const PostgresConnection connection(address);
  // libpq is the judge; this is to see what it saw.
  auto trust = address.trust;
  trust.config.allow_insecure = true;
  auto look = connection.shake_hands_again(trust, false);
  if (!look)
    throw Error(Exit::unavailable, "cannot reach " + connection.shown() +
                                       " a second time, to look at its TLS; look again later");
  std::tie(look->version, look->cipher) = connection.tls();
  look->config.allow_insecure = address.trust.config.allow_insecure;
  if (!address.trust.checks() && !tls.allow_insecure) look->unchecked = "sslmode=" + address.trust.sslmode;
  return *look;
}

}  // namespace stem
