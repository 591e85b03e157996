#pragma once

#include <grp.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <functional>
#include <stdexcept>

/// A real process that runs `work`; killed at the end of the test if it has not ended by then.
class ChildProcess {
 public:
  explicit ChildProcess(const std::function<int()>& work) {
    pid_ = fork();
    if (pid_ < 0) throw std::runtime_error("fork");
    if (pid_ > 0) return;
    for (int number = 1; number < NSIG; ++number)
      ::signal(number, SIG_DFL);  // doctest has handlers of its own
    int status = 99;
    try {
      status = work();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "a child process of a test: %s\n", error.what());
    }
    _exit(status);
  }
  ~ChildProcess() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    kill(pid_, SIGCONT);
    waitpid(pid_, nullptr, 0);
  }
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  void signal(int number) const { kill(pid_, number); }
  /// The exit status, or 128 + the signal; -1 if it does not end in time.
  int wait(int timeout_ms = 20'000) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
    for (;;) {
      int status = 0;
      if (waitpid(pid_, &status, WNOHANG) == pid_) {
        pid_ = 0;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      }
      if (std::chrono::steady_clock::now() > deadline) return -1;
      usleep(2'000);
    }
  }

 private:
  pid_t pid_ = 0;
};

/// Waits until `is_so` holds; false if it does not in time.
inline bool eventually(const std::function<bool()>& is_so, int timeout_ms = 10'000) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  while (!is_so()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    usleep(2'000);
  }
  return true;
}

/// An account that owns nothing.
constexpr uid_t stranger = 54321;

/// Makes this process, which was root's, that account's, its groups included.
inline bool become(uid_t user) {
  return setgroups(0, nullptr) == 0 && setresgid(user, user, user) == 0 && setresuid(user, user, user) == 0;
}
