#pragma once

#include <memory>
#include <string>
#include <vector>

#include "supervisor/scope.hpp"
#include "supervisor/unit_facts.hpp"

struct sd_bus;

namespace stem {

/// A connection to a service manager: through its own socket, for those who may use that, else through the
/// bus. The caller closes it. Throws Error 69 where neither answers.
sd_bus* connect_manager(const Manager& manager);

/// Reads the state of many units in few round trips: one list, then only the properties that are needed, all
/// asked before the first answer is read. It speaks sd-bus itself, since sdbus-c++ 1.2 cannot use the
/// manager's own socket, where an answer costs a third of what it costs through the bus, and which works
/// where no bus runs. Whoever may not use that socket is served through the bus, as is who asks another
/// machine. Throws Error 69 where neither answers. One thread.
class UnitReader {
 public:
  explicit UnitReader(const Manager& manager);
  ~UnitReader();
  UnitReader(const UnitReader&) = delete;
  UnitReader& operator=(const UnitReader&) = delete;

  /// The states of the loaded units whose names match a pattern as of glob(7).
  std::vector<UnitFacts> list(const std::vector<std::string>& patterns);
  /// The states of these units, in this order, loaded or not.
  std::vector<UnitFacts> find(const std::vector<std::string>& units);

  /// What to fill in.
  enum Part : unsigned {
    state = 1,     ///< load_state, active_state, sub_state
    pid = 2,       ///< main_pid
    life = 4,      ///< status_text, restarts, watchdog_age
    watchdog = 8,  ///< watchdog_age, watchdog_limit
    since = 16,    ///< active_since
    failure = 32,  ///< result, exit_code, exit_status, last_pid, last_started
    invocation = 64,
    started = 128,  ///< last_started
    memory = 256,
  };
  struct Request {
    UnitFacts* facts;  ///< whose `unit` is set
    unsigned parts;
  };
  /// Fills the parts in. A property that a unit has no more keeps its first value.
  void fill(const std::vector<Request>& requests);

 private:
  struct Close {
    void operator()(sd_bus* bus) const;
  };
  std::unique_ptr<sd_bus, Close> bus_;
};

}  // namespace stem
