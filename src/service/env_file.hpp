#pragma once

#include <cstddef>
#include <stem/config.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace stem {

/// An environment file, read by the rules of systemd's EnvironmentFile= (systemd.exec(5)), so that one file
/// may feed both. Where systemd drops a line without a word, or takes the rest of the file for a value, this
/// refuses it. `export KEY=value`, which systemd drops, is taken, with a warning. The table of cases is
/// docs/environment-file.md.
struct EnvFile {
  struct Entry {
    std::string key;
    std::string value;
    std::size_t line;  ///< from 1, where the key stands

    friend bool operator==(const Entry&, const Entry&) = default;
  };

  std::vector<Entry> entries;         ///< in the file's order; the later of two equal keys wins
  std::vector<std::string> warnings;  ///< `FILE:LINE: …`, for the caller to log

  /// What becomes of a line that is wrong.
  enum class WrongLines {
    refused,
    skipped,  ///< a warning each, and the line counts for nothing: for who only looks, or stops
  };

  /// Throws Error: 66 the file is missing, 77 it may not be read, 78 `FILE:LINE: what is wrong; what to do`.
  static EnvFile read(const std::string& path, WrongLines wrong = WrongLines::refused);
  /// `name` stands for the file in messages. Throws Error 78, for wrong lines that are skipped only if it
  /// concerns the whole file.
  static EnvFile parse(std::string_view text, const std::string& name,
                       WrongLines wrong = WrongLines::refused);

  /// Sets every entry in `environment`, over what is there.
  void apply_to(Environment& environment) const;
};

/// This process's environment, as a map.
Environment process_environment();

}  // namespace stem
