#pragma once

#include <span>
#include <string>
#include <string_view>

namespace stem {

struct Subject;

enum class Severity { ok, warning, error };
/// `ok`, `warning`, `error`.
std::string_view name_of(Severity severity);

/// What a check has found: one line that says what is there, and, if that is not as it should be, one that
/// says what to do about it. No password is in either.
struct Finding {
  Severity severity = Severity::ok;
  std::string text;
  std::string fix;
  bool skipped = false;  ///< there was nothing to look at, or we may not; `text` says why

  static Finding ok(std::string text) { return {Severity::ok, std::move(text), {}, false}; }
  static Finding warning(std::string text, std::string fix) {
    return {Severity::warning, std::move(text), std::move(fix), false};
  }
  static Finding error(std::string text, std::string fix) {
    return {Severity::error, std::move(text), std::move(fix), false};
  }
  static Finding skip(std::string why) { return {Severity::ok, std::move(why), {}, true}; }

  /// Of several things that one check looks at, all that are as bad as the worst.
  void add(Finding other);
};

/// One question to a node and the machine it is on.
struct Check {
  std::string_view id;       ///< for programs: never changes
  std::string_view section;  ///< of stem-daemonization(7)
  /// Looks, and changes nothing. May throw Error: that is a finding, too.
  Finding (*run)(const Subject&);
};

// The groups, in the order in which a start goes through them.
std::span<const Check> unit_checks();
std::span<const Check> unit_file_checks();
std::span<const Check> program_checks();
std::span<const Check> account_checks();
std::span<const Check> directory_checks();
std::span<const Check> environment_checks();
std::span<const Check> secret_checks();
std::span<const Check> storage_checks();
std::span<const Check> security_checks();
std::span<const Check> pidfile_checks();
std::span<const Check> process_checks();
std::span<const Check> host_checks();

}  // namespace stem
