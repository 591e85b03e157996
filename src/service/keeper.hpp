#pragma once

#include <sys/types.h>
#include <functional>
#include <stem/config.hpp>
#include <stem/time.hpp>
#include <string>
#include <vector>

#include "core/descriptor.hpp"

namespace stem {

/// What a keeper process says to its shim; one message a packet.
struct KeeperReport {
  enum class Kind : char {
    started,  ///< value: the program's pid
    refused,  ///< value: errno of exec
    stopped,  ///< by a signal; value: its number
    continued,
    ended,  ///< value: the wait status
  } kind;
  int value;
};

/// A keeper stands between a shim and its program: it is the program's parent and the new parent of all that
/// the program leaves behind. When the program ends, or the shim is gone in whatever way, it ends the rest:
/// SIGTERM, then SIGKILL, to its own children only, again and again until it has none. No number of a process
/// that is not its child is ever used.
class Keeper {
 public:
  struct Program {
    std::string path;
    std::vector<std::string> arguments;
    std::string workdir;  ///< empty = as it is
    Environment environment;
    int out = -1, err = -1;  ///< descriptors for its output; -1 = ours
    Duration leftover_limit;
  };

  /// Starts the keeper, and it the program. Throws Error 75 if there can be no more processes. One thread
  /// only.
  explicit Keeper(const Program& program);
  /// Lets go: the keeper ends everything and then itself.
  ~Keeper();
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  /// Polls readable when there is a report, or the keeper has ended.
  int fd() const { return socket_.get(); }
  /// Waits for the next report. False: the keeper has ended, and with it everything that it kept.
  bool next(KeeperReport& report);
  /// As next(), but only if there is one now; `none` says so.
  bool poll(KeeperReport& report, bool& none);

  /// Sends a signal to the program; nothing if it has ended.
  void signal(int number);
  /// SIGKILL to everything, now.
  void kill_all();

 private:
  bool receive(KeeperReport& report, int flags, bool& none);
  pid_t pid_ = 0;
  Descriptor socket_;
};

/// SIGKILLs and reaps every child of this process, and theirs as they become ours, until there are none: for
/// a subreaper. `ended` is told each one's wait status.
void kill_children(const std::function<void(pid_t, int)>& ended = {});

}  // namespace stem
