#include <stem/error.hpp>
#include <stem/result.hpp>

#include "target.hpp"

namespace {

bool check(const std::string& text) {
  try {
    const auto wire = stem::to_wire(stem::result_from_wire(text));
    require(stem::to_wire(stem::result_from_wire(wire)) == wire, "what was written reads the same", text);
    return true;
  } catch (const stem::Error& error) {
    require_message(error.what(), text);
    return false;
  }
}

const Target result{"result", check};

}  // namespace
