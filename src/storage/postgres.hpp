#pragma once

#include "storage/open.hpp"
#include "storage/url.hpp"

namespace stem {

/// Broker and store on the PostgreSQL that `url` names, on connections that both share. Loads libpq, and connects when
/// something is first asked of it; makes the schema and its tables where there are none. `clock` must outlive the
/// result. Throws Error as open_storage() does.
Storage open_postgres(const Url& url, const TlsConfig& tls, const Clock& clock);

}  // namespace stem
