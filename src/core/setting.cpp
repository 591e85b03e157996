#include <algorithm>
#include <stem/config.hpp>

#include "core/name.hpp"
#include "core/nearest.hpp"
#include "core/redaction.hpp"
#include "core/setting_rows.hpp"

namespace stem {
namespace {

bool is_address(std::string_view name) {
  return name.ends_with("_URL") || name.ends_with("_ENDPOINT");
}

/// Each address may hold a password; other secrets say so in their row.
bool is_secret(const Setting& setting) {
  return setting.secret || is_address(setting.name);
}

}  // namespace

std::string Setting::credential() const {
  if (!is_secret(*this)) return {};
  std::string id = "stem.";
  for (const char c : name.substr(name.find('_') + 1))
    id += c == '_' ? '-' : c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return id;
}

std::string Setting::shown(std::string_view value) const {
  if (is_address(name)) return redacted_url(value);
  return is_secret(*this) && !value.empty() ? "***" : redacted(printable(value));
}

bool Setting::hides(std::string_view value) const {
  return is_secret(*this) && shown(value).find("***") != std::string::npos;
}

std::vector<Setting> settings() {
  std::vector<Setting> rows;
  for (const auto& [setting, read] : setting_rows()) {
    rows.push_back(setting);
    rows.back().secret = is_secret(setting);
  }
  return rows;
}

std::vector<std::string> unknown_settings(const Environment& environment) {
  std::vector<std::string_view> known;
  for (const auto& [setting, read] : setting_rows()) known.push_back(setting.name);
  std::vector<std::string> warnings;
  for (const auto& [name, value] : environment) {
    if (!name.starts_with("STEM_") && !name.starts_with("STEMD_")) continue;
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    const auto near = nearest(name, known);
    warnings.push_back("unknown variable " + printable(name) + " is ignored" +
                       (near.empty() ? "; `man stem.env` lists the known ones"
                                     : "; did you mean " + std::string(near) + "?"));
  }
  return warnings;
}

}  // namespace stem
