#pragma once

#include <stem/config.hpp>
#include <string>
#include <vector>

namespace stem {

/// What is dangerous in `config`, one line each: to be told at every start. Loads nothing.
std::vector<std::string> tls_warnings(const TlsConfig& config);

}  // namespace stem
