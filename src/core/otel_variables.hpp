#pragma once

#include <initializer_list>
#include <optional>
#include <stem/config.hpp>
#include <string>
#include <vector>

namespace stem {

/// Variables such as OTEL_*, each read by the rules of its type: "Environment Variable Specification" of
/// OpenTelemetry. One that cannot be used counts as not set, with a line in `warnings`. An empty value is
/// none.
class OtelVariables {
 public:
  OtelVariables(const Environment& environment, std::vector<std::string>& warnings)
      : environment_(environment), warnings_(warnings) {}

  /// Without blanks around it.
  std::string text(const std::string& name) const;
  /// The parts of a list that commas separate.
  std::vector<std::string> items(const std::string& name) const;
  bool truth(const std::string& name);
  /// In small letters; empty if it is none of `known`.
  std::string word(const std::string& name, std::initializer_list<const char*> known);
  std::optional<int> number(const std::string& name, int low, int high);
  /// From 0 to 1.
  std::optional<double> share(const std::string& name);
  /// Of http or https.
  std::string address(const std::string& name);
  /// `name=value,name=value`, percent-encoded as in W3C Baggage; all of it or nothing. Of headers the names
  /// are in small letters.
  std::optional<std::map<std::string, std::string>> pairs(const std::string& name, bool headers);

  /// Says once that `name` is ignored, and why; its value is quoted unless it may be a secret.
  void ignore(const std::string& name, const std::string& why, bool quote = true);

  static bool is_address(std::string_view url);

 private:
  /// What `reading` makes of the value, or nothing where it refuses.
  template <class Reading>
  auto read(const std::string& name, Reading reading) -> std::optional<decltype(reading(name))>;

  const Environment& environment_;
  std::vector<std::string>& warnings_;
};

}  // namespace stem
