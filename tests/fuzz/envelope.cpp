#include <stem/envelope.hpp>
#include <stem/error.hpp>

#include "target.hpp"

namespace {

/// What was read can be written, and then reads as the same.
bool check(const std::string& text) {
  stem::Envelope envelope;
  try {
    envelope = stem::envelope_from_wire(text);
  } catch (const stem::Error& error) {
    require(error.code() == stem::Exit::data, "a refusal is bad data", text);
    require_message(error.what(), text);
    return false;
  }
  std::string wire;
  try {
    stem::validate(envelope);
    wire = stem::to_wire(envelope);
  } catch (const stem::Error& error) {
    require_message(error.what(), text);
    return false;
  }
  require(stem::to_wire(stem::envelope_from_wire(wire)) == wire, "what was written reads the same", text);
  return true;
}

const Target envelope{"envelope", check};

}  // namespace
