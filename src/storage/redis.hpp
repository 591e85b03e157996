#pragma once

#include "storage/open.hpp"
#include "storage/url.hpp"

namespace stem {

/// Broker and store on the Redis that `url` names, on one connection. It is made by the first call, which
/// fails if that does: a worker waits for a server that is not up yet. `clock` must outlive the result.
/// Throws Error: 78 a bad address; as TlsContext does, if it is one with TLS.
Storage open_redis(const Url& url, const TlsConfig& tls, const Clock& clock);

}  // namespace stem
