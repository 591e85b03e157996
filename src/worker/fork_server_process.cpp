#include "worker/fork_server_process.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <map>
#include <stem/error.hpp>
#include <string>

#include "telemetry/tracer.hpp"
#include "worker/child_job.hpp"
#include "worker/fork_packet.hpp"

namespace stem {
namespace {

using namespace std::chrono_literals;

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
    std::int32_t place;
    std::uint64_t number;  ///< of the child: later ones are younger
  };
  /// Of one place, those that were let go of, and are at their last words. A worker whose processes do one
  /// job each, and whose collector hangs, would else have ever more of them.
  static constexpr std::size_t most_lingering = 4;

  void obey(pid_t parent) {
    ForkRequest request{};
    std::vector<Descriptor> given;
    if (!receive_packet(socket_, request, given)) end(parent);
    ForkReply reply{request.number, 0, 0};
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
        born_.emplace(child, Born{std::move(given[1]), given.size() > 2 ? std::move(given[2]) : Descriptor(),
                                  request.index, ++born_ever_});
        hurry(request.index);
      } else {
        reply.error = errno;
        kill(child, SIGKILL);
      }
    }
    if (!send_packet(socket_, reply, handle)) end(parent);
  }

  [[noreturn]] void become_child(const ForkRequest& request, int socket) {
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

  /// Ends the oldest processes of a place of which too many linger.
  void hurry(std::int32_t place) const {
    std::map<std::uint64_t, pid_t> there;
    for (const auto& [child, born] : born_)
      if (born.place == place) there.emplace(born.number, child);
    auto one = there.begin();
    for (auto left = there.size(); left > 1 + most_lingering; --left, ++one)
      kill(one->second, SIGKILL);  // not reaped: its number is its own
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
  std::uint64_t born_ever_ = 0;
};

}  // namespace

void run_fork_server(int socket, const Registry& tasks, const ForkServer::Settings& settings,
                     ChildBoard& board, const rlimit& descriptors, pid_t parent) {
  Server(socket, tasks, settings, board, descriptors).run(parent);
}

}  // namespace stem
