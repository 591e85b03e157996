#pragma once

#include <sys/types.h>
#include <functional>
#include <stem/time.hpp>
#include <string>

namespace stem {

struct DetachSettings {
  std::string workdir = "/";
  std::string logfile;  ///< takes what goes to standard output and error; empty = /dev/null
  Duration timeout = std::chrono::minutes{5};  ///< to become ready
};

/// Runs `body` in a background process: new session, no terminal, umask 022, standard input from /dev/null,
/// no inherited descriptors. `body` gets a function to call once it is ready; its return value is the
/// process's exit status. Returns the pid after that call. Throws Error: what `body` threw, with its code; or
/// that it ended before it was ready (its exit status as the code, 70 for a signal); 75 not ready in time, it
/// is killed then. Call it while the process has one thread.
pid_t start_detached(const DetachSettings& settings,
                     const std::function<int(const std::function<void()>& ready)>& body);

}  // namespace stem
