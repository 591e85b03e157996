#pragma once

#include <stem/time.hpp>
#include <string>
#include <vector>

#include "supervisor/log_line.hpp"
#include "supervisor/scope.hpp"
#include "supervisor/unit_facts.hpp"

namespace stem {

/// What the journal has of one run of a unit.
struct JournalExcerpt {
  std::vector<std::string> lines;  ///< messages, oldest first; one line each
  bool readable = true;            ///< false: this user may not read the journal
};

/// The last `count` messages of the run that `facts` (invocation, last_pid, last_started) tell of: those of
/// its processes and those that the manager wrote about it. The journal is written behind our back, so this
/// waits up to `patience` for the manager's last word on a run that failed. Never throws: an excerpt is a
/// courtesy.
JournalExcerpt journal_of(const UnitFacts& facts, Scope scope, std::size_t count, Duration patience);

/// Hands the messages of these nodes' units to `reader`, in the journal's order, and goes on as
/// LogQuery::follow says: across rotated files as well. Throws Error: 77 this user may not read them, 69
/// there is no journal.
void read_journal(const std::vector<std::string>& nodes, Scope scope, const LogQuery& query,
                  LogReader& reader);

}  // namespace stem
