#pragma once

#include <stem/config.hpp>
#include <string>
#include <vector>

#include "core/routing.hpp"

namespace stem {

/// A routing file as it was read.
struct RoutingFile {
  Routing routing;
  std::vector<std::string> warnings;  ///< `FILE:LINE: what is there and means nothing to Stem's brokers`
};

/// Reads the text of a routing file, YAML or JSON, keys in snake or camel case; docs/routing.md. `file` is
/// what messages call it; `default_queue` counts where the file names none. Throws Error (exit 78) with file
/// and line.
RoutingFile read_routing(const std::string& file, const std::string& text, const std::string& default_queue);

/// What STEM_ROUTING_CONFIG names, or the default queue alone. Throws Error: 66 the file is missing, 77 it
/// may not be read, 78 as read_routing().
RoutingFile routing_of(const Config& config);

/// Text that read_routing() reads as the same again.
std::string to_yaml(const Routing& routing);

}  // namespace stem
