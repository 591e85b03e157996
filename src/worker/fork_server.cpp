#include "worker/fork_server.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <stem/error.hpp>
#include <vector>

#include "worker/child_job.hpp"

namespace stem {
namespace {

using namespace std::chrono_literals;

/// Beyond this the server hangs, or the machine does.
constexpr auto patience = 20s;

struct Request {
  std::uint32_t number;
  std::int32_t index;
  std::uint32_t descriptors;  ///< that come along; the kernel leaves out those for which there is no room
  char log_level[24];
};
struct Reply {
  std::uint32_t number;
  std::int32_t pid;
  std::int32_t error;
};

/// A packet with descriptors. False: nobody is there.
template <class Body>
bool send_packet(int socket, const Body& body, const std::vector<int>& descriptors) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 3)] = {};
  iovec part{const_cast<Body*>(&body), sizeof body};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    const auto bytes = sizeof(int) * descriptors.size();
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(bytes);
    auto* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(bytes);
    std::memcpy(CMSG_DATA(head), descriptors.data(), bytes);
  }
  while (sendmsg(socket, &message, MSG_NOSIGNAL) < 0)
    if (errno != EINTR) return false;
  return true;
}

/// False: nobody is there, or what came is no such packet.
template <class Body>
bool receive_packet(int socket, Body& body, std::vector<Descriptor>& descriptors) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 3)];
  iovec part{&body, sizeof body};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t length;
  while ((length = recvmsg(socket, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
  }
  if (length < 0) return false;
  for (auto* head = CMSG_FIRSTHDR(&message); head; head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
    const auto count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(head) + i * sizeof fd, sizeof fd);
      descriptors.emplace_back(fd);
    }
  }
  return length == sizeof body;
}

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

/// What a service manager told the worker is not for those it starts.
void leave_manager() {
  if (const char* owner = std::getenv("LISTEN_PID"); owner && std::atoi(owner) == getppid())
    if (const char* count = std::getenv("LISTEN_FDS"))
      for (int fd = 3; fd < 3 + std::atoi(count); ++fd) close(fd);
  for (const char* name :
       {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"})
    unsetenv(name);
}

/// 15 characters at the most, of which the index is the last to go.
void name_process(const std::string& node, const std::string& suffix) {
  constexpr std::size_t longest = 15;
  const std::string prefix = "stem:";
  prctl(PR_SET_NAME, (prefix + node.substr(0, longest - prefix.size() - suffix.size()) + suffix).c_str());
}

/// The server's own process, from its fork to its end. One thread.
class Server {
 public:
  Server(int socket, const Registry& tasks, const ForkServer::Settings& settings, ChildBoard& board,
         const rlimit& descriptors)
      : socket_(socket), tasks_(tasks), settings_(settings), board_(board), descriptors_(descriptors) {}

  [[noreturn]] void run(pid_t parent) {
    name_process(settings_.node, "-fork");
    // Away from the terminal: what is typed there is for the worker, and decided there.
    setsid();
    for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, nullptr);
    // The end of the socket says the same, unless somebody else holds its other end.
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(0);
    leave_manager();
    prepare_crash_notes();

    sigset_t heard;
    sigemptyset(&heard);
    sigaddset(&heard, SIGCHLD);
    sigaddset(&heard, SIGTERM);
    signals_ = signalfd(-1, &heard, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals_ < 0) _exit(static_cast<int>(Exit::software));
    for (;;) {
      pollfd fds[] = {{socket_, POLLIN, 0}, {signals_, POLLIN, 0}};
      if (poll(fds, 2, -1) < 0 && errno != EINTR) end(parent);
      signalfd_siginfo info;
      while (read(signals_, &info, sizeof info) == sizeof info)
        if (info.ssi_signo == SIGTERM && getppid() != parent) end(parent);
      reap();
      if (fds[0].revents) obey(parent);
    }
  }

 private:
  struct Born {
    Descriptor ended;
    Descriptor wake;
  };

  void obey(pid_t parent) {
    Request request{};
    std::vector<Descriptor> given;
    if (!receive_packet(socket_, request, given)) end(parent);
    Reply reply{request.number, 0, 0};
    if (given.size() < 2 || given.size() != request.descriptors) {
      reply.error = EMFILE;
      if (!send_packet(socket_, reply, {})) end(parent);
      return;
    }
    const pid_t child = fork();
    if (child == 0) {
      signals_ = (close(signals_), -1);
      close(socket_);
      born_.clear();
      const auto socket = std::move(given[0]);
      given.clear();
      become_child(request, socket.get());
    }
    std::vector<int> handle;
    Descriptor pidfd;
    if (child < 0) {
      reply.error = errno;
    } else {
      setpgid(child, child);
      pidfd.reset(static_cast<int>(syscall(SYS_pidfd_open, child, 0)));
      if (pidfd) {
        reply.pid = child;
        handle = {pidfd.get()};
        born_.emplace(child,
                      Born{std::move(given[1]), given.size() > 2 ? std::move(given[2]) : Descriptor()});
      } else {
        reply.error = errno;
        kill(child, SIGKILL);
      }
    }
    if (!send_packet(socket_, reply, handle)) end(parent);
  }

  [[noreturn]] void become_child(const Request& request, int socket) {
    const auto server = getppid();
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != server || server == 1) _exit(0);
    name_process(settings_.node, "-" + std::to_string(request.index));
    // A stop of the whole control group, or of a group of processes, is the worker's business: it ends its
    // children when their jobs have ended. Not ignored, for then programs that handlers start would ignore
    // it, too.
    struct sigaction nothing {};
    nothing.sa_handler = [](int) {};
    nothing.sa_flags = SA_RESTART;
    for (const int number : {SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE})
      sigaction(number, &nothing, nullptr);
    // A handler that uses select(2) cannot bear more.
    setrlimit(RLIMIT_NOFILE, &descriptors_);
    note_crashes(board_.crash(request.index));
    auto& cancelled = board_.cancelled(request.index);
    board_.seal();
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    serve_jobs(tasks_, socket, cancelled, [&] {
      if (settings_.enter) settings_.enter({request.index, request.log_level});
    });
  }

  /// Those that have ended, with what they had started and left behind: their groups.
  void reap() {
    siginfo_t info{};
    while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0) {
      const pid_t child = info.si_pid;
      // Not reaped yet: its number, and so its group's, is still its own.
      kill(-child, SIGKILL);
      int status = 0;
      waitpid(child, &status, 0);
      if (const auto found = born_.find(child); found != born_.end()) {
        [[maybe_unused]] auto written = write(found->second.ended.get(), &status, sizeof status);
        const std::uint64_t one = 1;
        if (found->second.wake) written = write(found->second.wake.get(), &one, sizeof one);
        born_.erase(found);
      }
      info = {};
    }
  }

  /// `parent`: whose children are told to end by now, if it lives. Those that send a collector their last
  /// words get the time for it.
  [[noreturn]] void end(pid_t parent) {
    const auto deadline = std::chrono::steady_clock::now() + Tracer::last_words + 500ms;
    while (getppid() == parent && std::chrono::steady_clock::now() < deadline) {
      reap();
      if (born_.empty()) break;
      poll(nullptr, 0, 5);
    }
    for (const auto& [child, born] : born_) {
      kill(-child, SIGKILL);
      kill(child, SIGKILL);
    }
    while (waitpid(-1, nullptr, 0) > 0 || errno == EINTR) {
    }
    _exit(0);
  }

  const int socket_;
  const Registry& tasks_;
  const ForkServer::Settings& settings_;
  ChildBoard& board_;
  const rlimit descriptors_;
  int signals_ = -1;
  std::map<pid_t, Born> born_;
};

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
    Server(theirs.get(), tasks_, settings_, board_, descriptors).run(parent);
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
  Request request{++asked_, birth.index, static_cast<std::uint32_t>(given.size()), {}};
  birth.log_level.copy(request.log_level, sizeof request.log_level - 1);
  if (!send_packet(socket_.get(), request, given)) throw gone();
  Reply reply{};
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
