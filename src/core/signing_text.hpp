#pragma once

#include <stem/envelope.hpp>
#include <string>

namespace stem {

inline constexpr const char* signature_header = "stem-signature";
inline constexpr const char* signature_key_header = "stem-signature-key";

/// What a signature is made over: the canonical form of docs/signing.md, version 1. One line of JSON, keys
/// sorted, without the two headers of the signature. Throws Error (exit 65) for what has no canonical form:
/// arguments that are nested too deep, integers beyond 64 bits with a sign, numbers that are not finite.
std::string signing_text(const Envelope& envelope);

}  // namespace stem
