#include <stem/error.hpp>

#include "target.hpp"
#include "worker/routing_file.hpp"

namespace {

/// What was read can be written, and then reads as the same; every job has a place to go.
bool check(const std::string& text) {
  stem::Routing routing;
  try {
    routing = stem::read_routing("f", text, "default").routing;
  } catch (const stem::Error& error) {
    require(error.code() == stem::Exit::config, "a refusal is a wrong configuration", text);
    require_message(error.what(), text);
    require(std::string(error.what()).starts_with("f:"), "a refusal names the line", text);
    return false;
  }
  require(stem::read_routing("f", stem::to_yaml(routing), "default").routing == routing,
          "what was written reads the same", text);
  require(!routing.destination("a.b", {}, "", 5).name.empty(), "every job has a place to go", text);
  return true;
}

const Target target{"routing", check};

}  // namespace
