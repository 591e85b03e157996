#pragma once

#include "storage/open.hpp"
#include "storage/url.hpp"

namespace stem {

/// Broker and store on the Redis that `url` names, on one connection, which has been made when it returns. `clock`
/// must outlive the result. Throws Error as open_storage() does.
Storage open_redis(const Url& url, const Clock& clock);

}  // namespace stem
