#pragma once

#include <stem/json.hpp>
#include <string>

namespace stem::cli {

/// The value of a plain scalar by the core schema of YAML 1.2 (section 10.3.2): `0x1F` and `0o17` are
/// numbers, `yes` and `1_000` are text. Throws Error (exit 65) for a number that JSON cannot hold: infinity,
/// what is none, an integer of more than 64 bits, a fraction out of the range of a double.
Json yaml_scalar(const std::string& text);

}  // namespace stem::cli
