#include <stem/error.hpp>

namespace stem {

const char* describe(Exit code) {
  switch (code) {
    case Exit::ok:
      return "all is well";
    case Exit::unhealthy:
      return "the thing checked is unhealthy, or a job failed";
    case Exit::not_running:
      return "at least one node is not running";
    case Exit::usage:
      return "the command line is wrong";
    case Exit::data:
      return "input data is malformed";
    case Exit::no_input:
      return "a named input file is missing";
    case Exit::unavailable:
      return "a service that is needed cannot be reached";
    case Exit::software:
      return "a defect of Stem itself";
    case Exit::cannot_create:
      return "a file or directory cannot be created or written";
    case Exit::try_again:
      return "a passing condition; try again";
    case Exit::no_permission:
      return "permission denied";
    case Exit::config:
      return "the configuration is wrong";
  }
  return "unknown";
}

}  // namespace stem
