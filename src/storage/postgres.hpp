#pragma once

#include "storage/open.hpp"
#include "storage/tls_look.hpp"
#include "storage/url.hpp"

namespace stem {

/// Broker and store on the PostgreSQL that `url` names, on connections that both share. Loads libpq, and
/// connects when something is first asked of it; makes the schema and its tables where there are none.
/// `clock` must outlive the result. Throws Error as open_storage() does.
Storage open_postgres(const Url& url, const TlsConfig& tls, const Clock& clock);

/// Whether a server without TLS would be refused. Loads libpq.
bool postgres_asks_for_tls(const Url& url, const TlsConfig& tls);
/// look_at_tls() for PostgreSQL.
TlsLook look_at_postgres_tls(const Url& url, const TlsConfig& tls);

}  // namespace stem
