#pragma once

namespace stem {

/// What is done with nodes.
enum class Verb { start, stop, restart, reload, enable, disable };

/// `start`, `stop`…: as on the command line, and in `may not start`, `did not start`.
constexpr const char* word_of(Verb verb) {
  switch (verb) {
    case Verb::start:
      return "start";
    case Verb::stop:
      return "stop";
    case Verb::restart:
      return "restart";
    case Verb::reload:
      return "reload";
    case Verb::enable:
      return "enable";
    case Verb::disable:
      return "disable";
  }
  return "";
}

}  // namespace stem
