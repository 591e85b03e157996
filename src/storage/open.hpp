#pragma once

#include <memory>
#include <stem/config.hpp>
#include <string>

#include "storage/broker.hpp"
#include "storage/store.hpp"

namespace stem {

/// Broker, result backend and revoke store of one deployment. Where both URLs are the same, both are the same
/// connection, and broker->keeps_records_of(*results).
struct Storage {
  std::shared_ptr<Broker> broker;
  std::shared_ptr<Store> results;
  std::shared_ptr<Store> orders{};  ///< revocations and paused queues; null = with the results

  Store& standing_orders() const { return orders ? *orders : *results; }
};

/// Opens what `config` names: `sqlite:///abs/path[?synchronous=normal]`, `redis://HOST`, `rediss://HOST`,
/// `redis+socket:///PATH`, `postgresql://HOST/DATABASE`, `memory://NAME`. Creates a SQLite file and its
/// schema where there is none; a server is connected to by the first call. An empty URL is default_url().
/// Throws Error: 78 unknown scheme (and which exist); as TlsContext does, where an address has TLS.
Storage open_storage(const Config& config, const Clock& clock = Clock::system());

/// The embedded default: `sqlite:///var/lib/stem/stem.db` for root and services,
/// `$XDG_STATE_HOME/stem/stem.db`
/// (`~/.local/state/…`) for a person.
std::string default_url(const Environment& environment);

}  // namespace stem
