#pragma once

#include <string>

#include "storage/open.hpp"
#include "storage/url.hpp"

namespace stem {

/// Broker and store on the file that `url` names, on one connection. Creates the file and its schema where
/// there is none. `clock` must outlive the result. Throws Error as open_storage() does.
Storage open_sqlite(const Url& url, const Clock& clock);

}  // namespace stem
