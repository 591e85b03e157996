#pragma once

#include <stdexcept>
#include <string>

namespace stem {

/// Exit statuses of every command, after sysexits.h, systemctl and the LSB. The table in `stem --help` and in
/// the manual pages is made from describe().
enum class Exit : int {
  ok = 0,
  unhealthy = 1,       ///< the thing checked is unhealthy, or a job failed
  not_running = 3,     ///< `multi status`: at least one node is not running (LSB)
  usage = 64,          ///< the command line is wrong
  data = 65,           ///< input data is malformed
  no_input = 66,       ///< a named input file is missing
  unavailable = 69,    ///< a service that is needed cannot be reached
  software = 70,       ///< a defect of Stem itself
  cannot_create = 73,  ///< a file or directory cannot be created or written
  try_again = 75,      ///< a passing condition: the same call may succeed later
  no_permission = 77,  ///< the caller may not do this
  config = 78,         ///< the configuration is wrong
};

/// One sentence on what `code` means, for help texts and manual pages.
const char* describe(Exit code);

/// What cannot go on. The message is one line: what failed, on which thing, why, what to do. `main` prints it
/// and exits with code(); an executor turns one thrown by a handler into a failed attempt.
class Error : public std::runtime_error {
 public:
  Error(Exit code, const std::string& message) : std::runtime_error(message), code_(code) {}

  /// An error in line `line` (from 1) of the file `file`: the message starts `FILE:LINE: `.
  static Error at(Exit code, const std::string& file, std::size_t line, const std::string& message) {
    return Error(code, file + ":" + std::to_string(line) + ": " + message);
  }

  Exit code() const { return code_; }

 private:
  Exit code_;
};

}  // namespace stem
