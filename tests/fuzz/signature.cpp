#include <stem/envelope.hpp>
#include <stem/error.hpp>
#include <stem/signing.hpp>

#include "core/signing_key_list.hpp"
#include "target.hpp"

namespace {

stem::SigningConfig config() {
  stem::SigningConfig config;
  config.keys = {{"k", "a secret"}};
  config.active_key = std::string(1, 'k');
  return config;
}

std::string refusal_of(const std::string& keys) {
  try {
    (void)stem::signing_keys_from(keys, 0);
  } catch (const stem::Error& error) {
    return error.what();
  }
  return {};
}

/// No text carries a right signature but one that was signed; what is signed verifies. The text is a list of
/// keys, too.
bool check(const std::string& text) {
  static const auto signer = *stem::PayloadSigner::maybe(config());
  try {
    (void)stem::signing_keys_from(text, 0);
  } catch (const stem::Error& error) {
    require_message(error.what(), text);
    // A list of keys is not told back: it is a secret. Unless it is some of the words that every refusal has.
    const std::string said = error.what();
    require(text.size() < 24 || said.find(text) == std::string::npos || said == refusal_of("x"),
            "a refusal keeps the secret", text);
  }
  stem::Envelope envelope;
  try {
    envelope = stem::envelope_from_wire(text);
  } catch (const stem::Error&) {
    return false;
  }
  require(signer.verify(envelope).has_value(), "nobody else can sign", text);
  try {
    signer.sign(envelope);
  } catch (const stem::Error& error) {
    require_message(error.what(), text);
    return false;
  }
  require(!signer.verify(envelope), "what was signed verifies", text);
  require(!signer.verify(stem::envelope_from_wire(stem::to_wire(envelope))), "and does so after its way",
          text);
  ++envelope.attempt;
  require(signer.verify(envelope).has_value(), "what was changed does not", text);
  return true;
}

const Target signature{"signature", check};

}  // namespace
