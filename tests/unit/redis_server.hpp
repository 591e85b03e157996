#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "temp_dir.hpp"

/// A real redis-server on a Unix socket in a directory of its own; gone with this object, or with this
/// process.
class RedisServer {
 public:
  explicit RedisServer(std::vector<std::string> options = {}) : options_(std::move(options)) { start(); }
  ~RedisServer() { stop(SIGKILL); }
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  /// On what was left behind, if it ran before. Returns when it accepts connections.
  void start() {
    const auto parent = getpid();
    pid_ = fork();
    if (pid_ < 0) throw std::runtime_error("fork");
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() != parent) _exit(1);
      const int null = open("/dev/null", O_RDWR);
      for (int fd = 0; fd < 3; ++fd) dup2(null, fd);
      std::vector<std::string> words{"redis-server", "--port", "0", "--unixsocket", socket(), "--dir",
                                     dir_.path(),    "--save", "",  "--daemonize",  "no"};
      words.insert(words.end(), options_.begin(), options_.end());
      std::vector<char*> arguments;
      for (auto& word : words) arguments.push_back(word.data());
      arguments.push_back(nullptr);
      execvp(arguments[0], arguments.data());
      _exit(127);
    }
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!accepts()) {
      if (int status = 0; waitpid(pid_, &status, WNOHANG) == pid_) {
        pid_ = 0;
        throw std::runtime_error("redis-server does not start; tool/setup installs it");
      }
      if (std::chrono::steady_clock::now() > deadline)
        throw std::runtime_error("redis-server does not answer");
      usleep(2'000);
    }
  }
  void stop(int signal) {
    if (pid_ <= 0) return;
    kill(pid_, signal);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  void signal(int number) const { kill(pid_, number); }

  std::string socket() const { return dir_ / "redis.sock"; }
  /// `parameters` as in a URL, without the question mark; `credentials` with the '@'.
  std::string url(const std::string& parameters = {}, const std::string& credentials = {}) const {
    return "redis+socket://" + credentials + socket() + (parameters.empty() ? "" : "?" + parameters);
  }

  /// The one that most tests of a program share.
  static RedisServer& shared() {
    static RedisServer server;
    return server;
  }

 private:
  bool accepts() const {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    std::strncpy(name.sun_path, socket().c_str(), sizeof name.sun_path - 1);
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool connected = connect(fd, reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0;
    close(fd);
    return connected;
  }

  const TempDir dir_;
  const std::vector<std::string> options_;
  pid_t pid_ = 0;
};
