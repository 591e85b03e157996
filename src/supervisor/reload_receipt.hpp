#pragma once

#include <sys/types.h>
#include <optional>
#include <stem/time.hpp>
#include <string>

namespace stem {

/// A worker's own word on whether it has read its configuration again: the signal that asks for it comes back
/// at once, and so does ExecReload= before systemd 253.
class ReloadReceipt {
 public:
  /// To be called before the worker is asked. Nothing if none answers at this control socket, or one that
  /// does not count its reloads.
  static std::optional<ReloadReceipt> before(const std::string& socket_path);

  /// Waits until the worker has reloaded since then. Throws Error: as the worker failed to (its message, its
  /// code), 75 not by `deadline`, 69 it has gone.
  void await(SteadyTime deadline) const;

 private:
  ReloadReceipt(std::string socket_path, pid_t pid, unsigned count)
      : socket_path_(std::move(socket_path)), pid_(pid), count_(count) {}
  std::string socket_path_;
  pid_t pid_;
  unsigned count_;
};

}  // namespace stem
