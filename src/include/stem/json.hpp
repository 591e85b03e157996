#pragma once

#include <nlohmann/json.hpp>

namespace stem {

/// Arguments and results: any JSON value. Integers and doubles stay distinct.
using Json = nlohmann::json;

}  // namespace stem
