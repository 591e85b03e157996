#include "core/control_message.hpp"

#include <stem/error.hpp>

#include "core/revocation.hpp"
#include "target.hpp"

namespace {

bool check(const std::string& text) {
  stem::Envelope envelope;
  try {
    envelope = stem::envelope_from_wire(text);
  } catch (const stem::Error&) {
    return false;
  }
  bool accepted = false;
  try {
    const auto request = stem::control_request_from(envelope);
    const auto again = stem::control_request_from(stem::to_envelope(request, "c"));
    require(again.id == request.id && again.type == request.type && again.targets == request.targets &&
                again.payload == request.payload && again.issued == request.issued &&
                again.expires == request.expires,
            "what was written reads the same", text);
    accepted = true;
  } catch (const stem::Error& error) {
    require(error.code() == stem::Exit::data, "a refusal is bad data", text);
    require_message(error.what(), text);
  }
  try {
    const auto reply = stem::control_reply_from(envelope);
    const auto again = stem::control_reply_from(stem::to_envelope(reply, "c", {}));
    require(again.request == reply.request && again.node == reply.node && again.payload == reply.payload &&
                again.error == reply.error,
            "an answer reads the same", text);
    accepted = true;
  } catch (const stem::Error& error) {
    require_message(error.what(), text);
  }
  try {
    (void)stem::revocation_from(envelope.args);
  } catch (const stem::Error& error) {
    require_message(error.what(), text);
  }
  return accepted;
}

const Target control_message{"control-message", check};

}  // namespace
