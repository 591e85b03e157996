#pragma once

#include <stem/time.hpp>
#include <string>
#include <vector>

#include "supervisor/scope.hpp"

namespace stem {

/// What the journal has of one run of a unit.
struct JournalExcerpt {
  std::vector<std::string> lines;  ///< messages, oldest first; one line each
  bool readable = true;            ///< false: this user may not read the journal
};

/// The last `count` messages of the run `invocation` (32 hexadecimal digits): those of its processes and
/// those that the manager wrote about it. The journal is written behind our back, so this waits up to
/// `patience` for the manager's last word on a run that failed. Never throws: an excerpt is a courtesy.
JournalExcerpt journal_of(const std::string& invocation, Scope scope, std::size_t count, Duration patience);

}  // namespace stem
