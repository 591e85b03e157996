#pragma once

#include <optional>
#include <stem/config.hpp>
#include <stem/json.hpp>
#include <string>
#include <vector>

#include "diagnosis/check.hpp"

namespace stem {

/// Something that jobs depend on, and how it fares, as this process sees it.
struct Dependency {
  std::string component;            ///< `broker`, `backend`, `schedules`, `tls` or `signing`
  std::string address;              ///< without passwords; empty if it has none
  Finding finding;                  ///< without passwords
  std::optional<Duration> latency;  ///< of one question, on a connection that was open
};

/// Asks all at once, each within the time limits of its address. Nothing is made: a database that is not
/// there yet is told of. `backend` = whether result backend and schedule store are asked, too. What is the
/// same as the broker is asked once.
std::vector<Dependency> look_at_dependencies(const Config& config, bool backend, WallTime now);

/// The array of `stem health --json`.
Json to_json(const std::vector<Dependency>& dependencies, const TlsConfig& tls);

}  // namespace stem
