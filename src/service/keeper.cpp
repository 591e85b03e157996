#include "service/keeper.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <sstream>
#include <stem/error.hpp>

namespace stem {
namespace {

using Kind = KeeperReport::Kind;

/// Our own children. Their numbers stay theirs until we reap them.
std::vector<pid_t> children() {
  std::vector<pid_t> list;
  std::ifstream file("/proc/self/task/" + std::to_string(getpid()) + "/children");
  if (file) {
    for (pid_t pid = 0; file >> pid;) list.push_back(pid);
    return list;
  }
  // A kernel without that file: everyone who names us as parent, the fourth field after the name in
  // parentheses.
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    const auto pid = static_cast<pid_t>(std::atoi(entry.path().filename().c_str()));
    if (pid <= 0) continue;
    std::ostringstream text;
    text << std::ifstream(entry.path() / "stat").rdbuf();
    const auto stat = text.str();
    const auto name_end = stat.rfind(')');
    if (name_end == stat.npos) continue;
    std::istringstream fields(stat.substr(name_end + 1));
    std::string state;
    pid_t parent = 0;
    if (fields >> state >> parent && parent == getpid()) list.push_back(pid);
  }
  return list;
}

/// The keeper's own process, from fork to end.
class Watch {
 public:
  Watch(int socket, const Keeper::Program& program) : socket_(socket), program_(program) {}

  [[noreturn]] void run() {
    prctl(PR_SET_NAME, "stem-keeper");
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
    // Only the shim's word counts: a signal to the whole group or control group is the shim's business.
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, nullptr);
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    const int ended = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    start();
    program_ended_ = main_ == 0;
    while (!done_) {
      pollfd polls[] = {{.fd = socket_, .events = POLLIN, .revents = 0},
                        {.fd = ended, .events = POLLIN, .revents = 0}};
      ::poll(polls, 2, program_ended_ ? 100 : -1);
      signalfd_siginfo info;
      while (read(ended, &info, sizeof info) > 0) {
      }
      if (polls[0].revents) obey();
      reap();
      if (program_ended_) end_the_rest();
    }
    _exit(0);
  }

 private:
  void report(Kind kind, int value) {
    const KeeperReport message{kind, value};
    send(socket_, &message, sizeof message, MSG_NOSIGNAL);
  }

  void start() {
    int failure[2];
    if (pipe2(failure, O_CLOEXEC) != 0) return report(Kind::refused, errno);
    const auto keeper = getpid();
    const auto child = fork();
    if (child == 0) {
      exec(keeper, failure[1]);
      const int error = errno;
      [[maybe_unused]] const auto count = write(failure[1], &error, sizeof error);
      _exit(127);
    }
    close(failure[1]);
    int error = child < 0 ? errno : 0;
    if (child > 0 && read(failure[0], &error, sizeof error) > 0) waitpid(child, nullptr, 0);
    close(failure[0]);
    if (error) return report(Kind::refused, error);
    for (const int fd : {program_.out, program_.err})
      if (fd > STDERR_FILENO) close(fd);
    main_ = child;
    report(Kind::started, child);
  }

  void exec(pid_t keeper, int keep) {
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // should someone kill the keeper
    if (getppid() != keeper) _exit(127);
    if (!program_.workdir.empty() && chdir(program_.workdir.c_str()) != 0) return;
    const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    dup2(null, STDIN_FILENO);
    if (program_.out >= 0) dup2(program_.out, STDOUT_FILENO);
    if (program_.err >= 0) dup2(program_.err, STDERR_FILENO);
    if (keep > 3) close_range(3, static_cast<unsigned>(keep) - 1, 0);
    close_range(static_cast<unsigned>(keep) + 1, ~0U, 0);
    std::vector<std::string> texts;
    for (const auto& [key, value] : program_.environment) texts.push_back(key + "=" + value);
    std::vector<char*> environment, arguments;
    for (auto& text : texts) environment.push_back(text.data());
    for (const auto& word : program_.arguments) arguments.push_back(const_cast<char*>(word.c_str()));
    environment.push_back(nullptr);
    arguments.push_back(nullptr);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    execve(program_.path.c_str(), arguments.data(), environment.data());
  }

  /// A signal's number to pass on, -1 for the end of everything; an end of file means the same: the shim is
  /// gone.
  void obey() {
    int order = 0;
    const auto length = recv(socket_, &order, sizeof order, MSG_DONTWAIT);
    if (length < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (length != sizeof order || order < 0) {
      kill_the_rest();
      _exit(0);
    }
    if (main_ == 0) return;
    kill(main_, order);
    if (order == SIGTERM || order == SIGINT) kill(main_, SIGCONT);  // a stopped program would not hear of it
  }

  void reap() {
    for (;;) {
      siginfo_t info{};
      if (waitid(P_ALL, 0, &info, WEXITED | WSTOPPED | WCONTINUED | WNOHANG | WNOWAIT) != 0 ||
          info.si_pid == 0)
        return;
      int status = 0;
      waitpid(info.si_pid, &status, WUNTRACED | WCONTINUED | WNOHANG);
      if (info.si_pid != main_) continue;
      if (WIFSTOPPED(status))
        report(Kind::stopped, WSTOPSIG(status));
      else if (WIFCONTINUED(status))
        report(Kind::continued, 0);
      else {
        report(Kind::ended, status);
        main_ = 0;
        program_ended_ = true;
        deadline_ = std::chrono::steady_clock::now() + program_.leftover_limit;
      }
    }
  }

  void kill_the_rest() {
    kill_children([this](pid_t pid, int status) {
      if (pid == main_) report(Kind::ended, status);
    });
  }

  void end_the_rest() {
    const auto rest = children();
    if (rest.empty()) {
      done_ = true;
    } else if (std::chrono::steady_clock::now() >= deadline_) {
      kill_the_rest();
    } else {
      for (const auto pid : rest)
        if (asked_.insert(pid).second) {
          kill(pid, SIGTERM);
          kill(pid, SIGCONT);
        }
    }
  }

  const int socket_;
  const Keeper::Program& program_;
  pid_t main_ = 0;
  bool program_ended_ = false;
  bool done_ = false;
  SteadyTime deadline_{};
  std::set<pid_t> asked_;
};

}  // namespace

void kill_children(const std::function<void(pid_t, int)>& ended) {
  for (auto list = children(); !list.empty(); list = children()) {
    for (const auto pid : list) kill(pid, SIGKILL);
    for (const auto pid : list) {
      int status = 0;
      pid_t waited = 0;
      while ((waited = waitpid(pid, &status, 0)) < 0 && errno == EINTR) {
      }
      if (waited == pid && ended) ended(pid, status);
    }
  }
}

Keeper::Keeper(const Program& program) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    throw Error(Exit::try_again, std::string("cannot make a socket: ") + std::strerror(errno));
  socket_.reset(ends[0]);
  Descriptor theirs(ends[1]);
  pid_ = fork();
  if (pid_ < 0)
    throw Error(Exit::try_again, std::string("cannot start a process: ") + std::strerror(errno) +
                                     "; see LimitNPROC or ulimit -u");
  if (pid_ > 0) return;

  // Whatever else is open belongs to the shim: its locks and sockets must end with it.
  std::set<int> keep = {theirs.get()};
  for (const int fd : {program.out, program.err})
    if (fd > STDERR_FILENO) keep.insert(fd);
  unsigned from = 3;
  for (const int fd : keep) {
    if (static_cast<unsigned>(fd) > from) close_range(from, static_cast<unsigned>(fd) - 1, 0);
    from = static_cast<unsigned>(fd) + 1;
  }
  close_range(from, ~0U, 0);
  Watch(theirs.release(), program).run();
}

Keeper::~Keeper() {
  socket_.reset();
  while (pid_ > 0 && waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

bool Keeper::receive(KeeperReport& report, int flags, bool& none) {
  none = false;
  for (;;) {
    const auto length = recv(socket_.get(), &report, sizeof report, flags);
    if (length == sizeof report) return true;
    if (length < 0 && errno == EINTR) continue;
    none = length < 0 && errno == EAGAIN;
    return false;
  }
}

bool Keeper::next(KeeperReport& report) {
  bool none;
  return receive(report, 0, none);
}

bool Keeper::poll(KeeperReport& report, bool& none) {
  return receive(report, MSG_DONTWAIT, none);
}

void Keeper::signal(int number) {
  send(socket_.get(), &number, sizeof number, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void Keeper::kill_all() {
  signal(-1);
}

}  // namespace stem
