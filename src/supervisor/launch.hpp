#pragma once

#include <sys/types.h>
#include <memory>
#include <optional>
#include <stem/config.hpp>
#include <stem/time.hpp>
#include <string>
#include <vector>

#include "core/descriptor.hpp"

namespace stem {

/// Who brings a program into the background: start-stop-daemon(8), dpkg's or BusyBox's (they share the
/// options that we use), or, where it is not installed, Stem itself.
struct Backgrounder {
  std::string program;  ///< absolute path of start-stop-daemon; empty = Stem itself

  /// Looks where system tools live, whatever PATH says.
  static Backgrounder find();
  std::string name() const { return program.empty() ? "stem" : "start-stop-daemon"; }
};

struct LaunchOrder {
  std::vector<std::string> command;  ///< absolute program and arguments
  Environment environment;           ///< complete
  std::string no_pidfile;            ///< a path where nothing is, in a directory of ours
  std::string output;                ///< file that standard output and error are appended to
  std::string user, group;           ///< run as these; empty = as we are
  Duration timeout;                  ///< to be ready, then it is ended
};

/// A program on its way into the background, until it says READY=1 (sd_notify(3)) or has ended. A small
/// process of ours stands by meanwhile as the subreaper of whatever is started, so that an early end is seen
/// at once, with its exit status, however often the program was forked on the way. (start-stop-daemon's own
/// --notify-await waits until its time is up if the program dies: 1.21.22.)
class Launch {
 public:
  /// Throws Error 75 if there are no processes or descriptors left.
  Launch(const Backgrounder& by, const LaunchOrder& order);

  struct Result {
    enum class Kind { ready, ended, late, broken } kind = Kind::broken;
    pid_t pid = 0;   ///< ready: of the program
    int status = 0;  ///< ended: as of waitpid(2)
  };
  /// Polls readable when result() is there.
  int fd() const { return pipe_.get(); }
  /// Waits for it.
  Result result();

 private:
  Descriptor pipe_;
  pid_t helper_ = 0;
};

}  // namespace stem
