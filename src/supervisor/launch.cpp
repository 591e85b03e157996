#include "supervisor/launch.hpp"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stem/error.hpp>

#include "service/directories.hpp"

namespace stem {
namespace {

/// Runs its arguments with output to the first of them. A shell, since BusyBox's start-stop-daemon cannot
/// redirect.
constexpr const char* redirect = R"(out=$1; shift; exec "$@" >>"$out" 2>&1)";

std::vector<std::string> command_line(const Backgrounder& by, const LaunchOrder& order) {
  std::vector<std::string> words;
  if (!by.program.empty()) {
    words = {by.program, "-S", "-q", "-b"};
    // It insists on something to recognize a running program by. Our own lock has decided that already, and
    // knows better, so this is a file that is never there.
    words.insert(words.end(), {"-p", order.no_pidfile, "-x", "/bin/sh"});
    if (!order.user.empty())
      words.insert(words.end(), {"-c", order.user + (order.group.empty() ? "" : ":" + order.group)});
    words.insert(words.end(), {"--", "-c", redirect, "sh"});
  } else {
    words = {"/bin/sh", "-c", redirect, "sh"};
  }
  words.push_back(order.output);
  words.insert(words.end(), order.command.begin(), order.command.end());
  return words;
}

/// Everything that execve() wants, made before fork().
struct Exec {
  std::vector<std::string> words, settings;
  std::vector<char*> argv, envp;

  Exec(std::vector<std::string> command, Environment environment, const std::string& notify_socket)
      : words(std::move(command)) {
    environment["NOTIFY_SOCKET"] = notify_socket;
    for (const auto* key :
         {"WATCHDOG_USEC", "WATCHDOG_PID", "INVOCATION_ID", "JOURNAL_STREAM", "LISTEN_FDS", "LISTEN_PID"})
      environment.erase(key);
    for (const auto& [key, value] : environment) settings.push_back(key + "=" + value);
    for (auto& word : words) argv.push_back(word.data());
    for (auto& setting : settings) envp.push_back(setting.data());
    argv.push_back(nullptr);
    envp.push_back(nullptr);
  }
};

/// A datagram socket with a name that the kernel chooses, and that name as NOTIFY_SOCKET has it.
std::pair<Descriptor, std::string> notify_socket() {
  Descriptor socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const int on = 1;
  socklen_t length = sizeof address;
  if (!socket || bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address.sun_family) != 0 ||
      setsockopt(socket.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0 ||
      getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0)
    throw Error(Exit::try_again, std::string("cannot make a socket: ") + std::strerror(errno));
  return {std::move(socket), "@" + std::string(address.sun_path + 1, length - sizeof address.sun_family - 1)};
}

/// Who has said READY=1, among what waits in the socket; 0 = nobody yet.
pid_t ready_sender(int socket) {
  for (;;) {
    char text[4096];
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(ucred))];
    iovec part{text, sizeof text};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const auto length = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    if (length < 0) return 0;
    const std::string lines = "\n" + std::string(text, static_cast<std::size_t>(length)) + "\n";
    const auto* header = CMSG_FIRSTHDR(&message);
    if (lines.find("\nREADY=1\n") == std::string::npos || !header || header->cmsg_type != SCM_CREDENTIALS)
      continue;
    ucred sender{};
    std::memcpy(&sender, CMSG_DATA(header), sizeof sender);
    return sender.pid;
  }
}

void become(const LaunchOrder& order) {
  const auto owner = Owner::named(order.user, order.group);
  if (initgroups(order.user.c_str(), owner.group) != 0 || setgid(owner.group) != 0 || setuid(owner.user) != 0)
    _exit(217);
}

/// Starts the command as our child: start-stop-daemon, or the program in a session of its own.
pid_t spawn(const Backgrounder& by, const LaunchOrder& order, Exec& exec) {
  const pid_t child = fork();
  if (child != 0) return child;
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd : {0, 1, 2}) dup2(null, fd);
  umask(022);
  syscall(SYS_close_range, 3U, ~0U, 1U << 2 /* CLOSE_RANGE_CLOEXEC */);  // what our caller let us inherit
  if (by.program.empty()) {
    setsid();
    if (!order.user.empty()) become(order);
  }
  execve(exec.argv[0], exec.argv.data(), exec.envp.data());
  _exit(203);
}

/// The helper's whole life. `first` is what it started. Where that is start-stop-daemon, the program is one
/// of the descendants that become our children as those between go; all have gone when the program has.
Launch::Result attend(const Backgrounder& by, pid_t first, int socket, int signals, SteadyTime deadline) {
  using Kind = Launch::Result::Kind;
  int worst = 0;
  for (;;) {
    int status = 0;
    pid_t ended;
    while ((ended = waitpid(-1, &status, WNOHANG)) > 0) {
      if (worst == 0) worst = status;
      if (ended == first && (by.program.empty() || status != 0)) return {Kind::ended, 0, status};
    }
    // Asked after the children: what the program said before its end counts for nothing.
    if (ended < 0 && errno == ECHILD) return {Kind::ended, 0, worst};
    if (const auto pid = ready_sender(socket)) return {Kind::ready, pid, 0};
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    if (left <= 0) return {Kind::late, 0, 0};
    pollfd events[] = {{socket, POLLIN, 0}, {signals, POLLIN, 0}};
    poll(events, 2, static_cast<int>(std::min<long long>(left, 60'000)));
    signalfd_siginfo drained;
    while (read(signals, &drained, sizeof drained) > 0) {
    }
  }
}

/// Ends all our descendants: they are our children by now, or will be as their parents end.
void end_children() {
  for (const int number : {SIGTERM, SIGKILL}) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds{number == SIGTERM ? 10 : 2};
    while (std::chrono::steady_clock::now() < until) {
      const auto path = "/proc/self/task/" + std::to_string(getpid()) + "/children";
      const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
      char text[4096] = {};
      if (!file || read(file.get(), text, sizeof text - 1) <= 0) return;
      for (char *at = text, *end; (end = at, strtol(at, &end, 10)) > 0 && end != at; at = end) {
        const auto pid = static_cast<pid_t>(strtol(at, nullptr, 10));
        kill(getpgid(pid) == pid ? -pid : pid, number);
      }
      usleep(20'000);
      while (waitpid(-1, nullptr, WNOHANG) > 0) {
      }
    }
  }
}

}  // namespace

Backgrounder Backgrounder::find() {
  for (const char* path :
       {"/sbin/start-stop-daemon", "/usr/sbin/start-stop-daemon", "/usr/local/sbin/start-stop-daemon"})
    if (access(path, X_OK) == 0) return {path};
  return {};
}

Launch::Launch(const Backgrounder& by, const LaunchOrder& order) {
  auto [socket, name] = notify_socket();
  Exec exec(command_line(by, order), order.environment, name);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0)
    throw Error(Exit::try_again, std::string("cannot make a pipe: ") + std::strerror(errno));
  pipe_.reset(ends[0]);
  Descriptor report(ends[1]);
  helper_ = fork();
  if (helper_ < 0)
    throw Error(Exit::try_again, std::string("cannot start a process: ") + std::strerror(errno));
  if (helper_ > 0) return;

  // From here on we are the helper. It leaves by _exit(): nothing of its parent's is its own.
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGCHLD);
  sigprocmask(SIG_BLOCK, &mask, nullptr);
  const int signals = signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC);
  const auto deadline = std::chrono::steady_clock::now() + order.timeout;
  const pid_t first = spawn(by, order, exec);
  auto result = first < 0 ? Result{} : attend(by, first, socket.get(), signals, deadline);
  if (result.kind == Result::Kind::late) end_children();
  (void)!write(report.get(), &result, sizeof result);
  _exit(0);
}

Launch::Result Launch::result() {
  Result result;
  ssize_t got;
  while ((got = read(pipe_.get(), &result, sizeof result)) < 0 && errno == EINTR) {
  }
  while (waitpid(helper_, nullptr, 0) < 0 && errno == EINTR) {
  }
  return got == sizeof result ? result : Result{};
}

}  // namespace stem
