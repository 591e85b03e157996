#pragma once

#include <sys/types.h>

#include <functional>
#include <mutex>
#include <optional>
#include <stem/task.hpp>
#include <string>

#include "core/descriptor.hpp"
#include "worker/child_board.hpp"

namespace stem {

/// A process that forks the children of a pool, so that the worker, which has threads and connections, never
/// forks. It is made while the process has neither: what children inherit is the program with its task
/// modules, and no more. It ends when the worker ends, in whatever way, and its children with it.
class ForkServer {
 public:
  struct Birth {
    int index = 1;          ///< from 1
    std::string log_level;  ///< as the worker has it now
  };
  struct Settings {
    std::string node = "worker";  ///< for the names of processes
    int children = 1;             ///< at the same time
    /// In each child, before its first job: what it needs beside the tasks, such as a log. What it throws is
    /// told to who asked for the child.
    std::function<void(const Birth&)> enter{};
  };

  /// Forks. Call it before other threads run; both outlive it. Raises the soft limit of descriptors of this
  /// process as far as so many children need, and may. Throws Error: 70, 75 if there can be no more
  /// processes.
  ForkServer(const Registry& tasks, Settings settings);
  /// Ends the server and all children, and waits for that.
  ~ForkServer();
  ForkServer(const ForkServer&) = delete;
  ForkServer& operator=(const ForkServer&) = delete;

  struct Child {
    pid_t pid = 0;
    Descriptor handle{};  ///< a pidfd
    Descriptor socket{};  ///< speaks ChildFrame
    Descriptor ended{};   ///< polls readable once the child has ended: then how_it_ended()
  };
  /// A child for a place that has none. `wake`, an event descriptor, is set when it has ended; -1 = none.
  /// Throws Error: 75 if there can be no more processes, or descriptors, now; 70 if the server is lost.
  /// Thread-safe; waits for the fork.
  Child start(const Birth& birth, int wake);

  /// The wait status of a child that has ended; empty if the server ended before it, and so took it along.
  static std::optional<int> how_it_ended(const Child& child);
  /// Sends it to this very process, never to another of its number.
  static void signal(const Child& child, int number);
  /// Kills what a child has started, and itself: the server does that, but where it was killed.
  void end_group(const Child& child) const;

  /// Whether the server has ended: there will be no children any more.
  bool lost() const;
  ChildBoard& board() { return board_; }
  int children() const { return settings_.children; }
  pid_t pid() const { return pid_; }

 private:
  const Registry& tasks_;
  const Settings settings_;
  ChildBoard board_;
  Descriptor socket_;
  pid_t pid_ = 0;
  std::mutex asking_;
  std::uint32_t asked_ = 0;
};

}  // namespace stem
