#include "worker/fork_server.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stem/error.hpp>
#include <vector>

#include "worker/fork_packet.hpp"
#include "worker/fork_server_process.hpp"

namespace stem {
namespace {

using namespace std::chrono_literals;

/// Beyond this the server hangs, or the machine does.
constexpr auto patience = 20s;

/// What is to be done about it.
std::string advice(int error) {
  const char* where = error == EMFILE || error == ENFILE ? "LimitNOFILE= or ulimit -n"
                                                         : "TasksMax=, MemoryMax=, LimitNPROC= or ulimit -u";
  return std::string(std::strerror(error)).append("; see ").append(where);
}

/// Returns what the limit was.
rlimit allow_descriptors(rlim_t count) {
  rlimit before{};
  if (getrlimit(RLIMIT_NOFILE, &before) == 0 && before.rlim_cur < count &&
      before.rlim_cur < before.rlim_max) {
    const rlimit wider{std::min(count, before.rlim_max), before.rlim_max};
    setrlimit(RLIMIT_NOFILE, &wider);
  }
  return before;
}

/// Whether there is a process of this group and session: then the number is the group's that we mean.
bool is_group(pid_t group, pid_t session) {
  std::error_code trouble;
  for (std::filesystem::directory_iterator entry("/proc", trouble), end; entry != end && !trouble;
       entry.increment(trouble)) {
    const auto path = entry->path().string() + "/stat";
    if (path.find_first_of("0123456789") == std::string::npos) continue;
    std::ifstream file(path);
    std::string text;
    std::getline(file, text, '\0');
    // `PID (NAME) STATE PPID PGRP SESSION …`, and a name may hold anything.
    const auto rest = text.rfind(')');
    pid_t of_group = 0, of_session = 0;
    if (rest != std::string::npos &&
        std::sscanf(text.c_str() + rest, ") %*c %*d %d %d", &of_group, &of_session) == 2 &&
        of_group == group && of_session == session)
      return true;
  }
  return false;
}

}  // namespace

ForkServer::ForkServer(const Registry& tasks, Settings settings)
    : tasks_(tasks), settings_(std::move(settings)), board_(settings_.children) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    throw Error(Exit::software, std::string("cannot make a socket for the pool: ") + std::strerror(errno));
  socket_.reset(ends[0]);
  Descriptor theirs(ends[1]);
  // Here a socket, a handle and a pipe for each child, there two descriptors; and what the program needs.
  const auto descriptors = allow_descriptors(3 * static_cast<rlim_t>(settings_.children) + 256);
  const auto parent = getpid();
  std::fflush(nullptr);  // or children would print it again
  pid_ = fork();
  if (pid_ < 0)
    throw Error(Exit::try_again, std::string("cannot start the pool's processes: ") + std::strerror(errno) +
                                     "; see TasksMax=, LimitNPROC= or ulimit -u");
  if (pid_ == 0) {
    socket_.reset();
    run_fork_server(theirs.get(), tasks_, settings_, board_, descriptors, parent);
  }
  const timeval limit{.tv_sec = std::chrono::seconds(patience).count(), .tv_usec = 0};
  setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

ForkServer::~ForkServer() {
  socket_.reset();
  const auto deadline = std::chrono::steady_clock::now() + 5s;
  while (waitpid(pid_, nullptr, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() > deadline) {
      kill(pid_, SIGKILL);  // our child, not reaped: the number is still its own; its children die with it
      while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
      }
      return;
    }
    usleep(1'000);
  }
}

ForkServer::Child ForkServer::start(const Birth& birth, int wake) {
  const auto gone = [] {
    return Error(Exit::software, "the process that starts the pool's children has ended");
  };
  int sockets[2], ends[2];
  Child child;
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0)
    throw Error(Exit::try_again, "cannot make a socket for a child: " + advice(errno));
  child.socket.reset(sockets[0]);
  const Descriptor their_socket(sockets[1]);
  if (pipe2(ends, O_CLOEXEC) != 0)
    throw Error(Exit::try_again, "cannot make a pipe for a child: " + advice(errno));
  child.ended.reset(ends[0]);
  const Descriptor their_end(ends[1]);

  const std::lock_guard lock(asking_);
  // They are the last's, if it was given up on.
  board_.crash(birth.index).signal = 0;
  board_.cancelled(birth.index) = false;
  std::vector<int> given{their_socket.get(), their_end.get()};
  if (wake >= 0) given.push_back(wake);
  ForkRequest request{++asked_, birth.index, static_cast<std::uint32_t>(given.size()), {}};
  birth.log_level.copy(request.log_level, sizeof request.log_level - 1);
  if (!send_packet(socket_.get(), request, given)) throw gone();
  ForkReply reply{};
  std::vector<Descriptor> handles;
  // An answer that came too late for the question before is not the one to this.
  do {
    handles.clear();
    if (!receive_packet(socket_.get(), reply, handles)) {
      if (lost()) throw gone();
      throw Error(Exit::try_again, "the process that starts the pool's children does not answer");
    }
  } while (reply.number != asked_);
  // A handle that came and is not here found no room. The child ends itself: it has nobody to speak to.
  if (reply.error != 0 || handles.empty())
    throw Error(Exit::try_again,
                "cannot start a process: " + advice(reply.error != 0 ? reply.error : EMFILE));
  child.pid = reply.pid;
  child.handle = std::move(handles.front());
  return child;
}

std::optional<int> ForkServer::how_it_ended(const Child& child) {
  int status = 0;
  ssize_t length;
  while ((length = read(child.ended.get(), &status, sizeof status)) < 0 && errno == EINTR) {
  }
  return length == sizeof status ? std::optional(status) : std::nullopt;
}

void ForkServer::signal(const Child& child, int number) {
  if (child.handle) syscall(SYS_pidfd_send_signal, child.handle.get(), number, nullptr, 0);
}

void ForkServer::end_group(const Child& child) const {
  // Its number is not given out again while the group has members. They are in the server's session, as
  // nobody else is.
  if (child.pid > 0 && is_group(child.pid, pid_)) kill(-child.pid, SIGKILL);
}

bool ForkServer::lost() const {
  pollfd fd{socket_.get(), POLLIN, 0};
  if (poll(&fd, 1, 0) <= 0) return false;
  char byte;
  return (fd.revents & POLLHUP) != 0 || recv(socket_.get(), &byte, sizeof byte, MSG_PEEK | MSG_DONTWAIT) == 0;
}

}  // namespace stem
