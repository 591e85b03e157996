#pragma once

#include <span>
#include <stem/config.hpp>
#include <string>

namespace stem {

/// One variable: how it is told of, and how its value becomes part of a Config. `read` throws Error whose
/// message says what is accepted (see setting_value.hpp); null for variables that are read elsewhere, or that
/// Stem sets for the programs it starts.
struct SettingRow {
  Setting setting;
  void (*read)(Config&, const std::string&);
};

/// All of them, in the order in which they are read and shown.
std::span<const SettingRow> setting_rows();

}  // namespace stem
