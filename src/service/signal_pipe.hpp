#pragma once

#include <csignal>
#include <vector>

#include "core/descriptor.hpp"

namespace stem {

/// Turns signals into bytes that a loop reads, for as long as it lives; one at a time in a process. Not by
/// blocking them, as signalfd(2) needs: a program that a handler starts would inherit the blocked ones and
/// could not be stopped any more. For the same reason SIGPIPE gets a handler that does nothing, and is not
/// ignored.
class SignalPipe {
 public:
  /// Throws Error 70.
  explicit SignalPipe(const std::vector<int>& numbers);
  ~SignalPipe();
  SignalPipe(const SignalPipe&) = delete;
  SignalPipe& operator=(const SignalPipe&) = delete;

  /// Polls readable when next() has something.
  int fd() const { return read_.get(); }
  /// The next signal that has come, or 0.
  int next() const;

 private:
  struct Former {
    int number;
    struct sigaction action;
  };
  void handle(int number, void (*handler)(int));

  Descriptor read_, write_;
  std::vector<Former> former_;
};

}  // namespace stem
