#include "service/detach.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <stem/error.hpp>

#include "core/descriptor.hpp"
#include "service/log_output.hpp"

namespace stem {
namespace {

/// What the background process tells the starter. A message is one write of less than PIPE_BUF bytes.
struct Report {
  enum Kind : char { begun, ready, failed } kind = begun;
  pid_t pid = 0;
  int code = 0;
  char message[1024] = {};
};

void tell(int fd, Report report) {
  while (write(fd, &report, sizeof report) < 0 && errno == EINTR) {
  }
}

/// Takes over the orphans among our descendants, so that the background process's exit status comes to us.
class Subreaper {
 public:
  Subreaper() {
    prctl(PR_GET_CHILD_SUBREAPER, &before_);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
  }
  ~Subreaper() { prctl(PR_SET_CHILD_SUBREAPER, before_); }

 private:
  int before_ = 0;
};

void leave_all_behind(const DetachSettings& settings, int keep) {
  for (int number = 1; number < NSIG; ++number) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  umask(022);
  if (chdir(settings.workdir.c_str()) != 0)
    throw Error(errno == EACCES ? Exit::no_permission : Exit::config,
                "cannot use working directory " + settings.workdir + ": " + std::strerror(errno) +
                    "; make it or name another");
  const Descriptor in(open("/dev/null", O_RDONLY | O_CLOEXEC));
  const Descriptor out(settings.logfile.empty() ? Descriptor(open("/dev/null", O_WRONLY | O_CLOEXEC))
                                                : open_log_file(settings.logfile));
  if (!in || !out)
    throw Error(Exit::cannot_create, std::string("cannot open /dev/null: ") + std::strerror(errno));
  dup2(in.get(), STDIN_FILENO);
  dup2(out.get(), STDOUT_FILENO);
  dup2(out.get(), STDERR_FILENO);
  if (keep > 3) close_range(3, static_cast<unsigned>(keep) - 1, 0);
  close_range(static_cast<unsigned>(keep) + 1, ~0U, 0);
}

[[noreturn]] void background(const DetachSettings& settings, int fd,
                             const std::function<int(const std::function<void()>&)>& body) {
  setpgid(0, 0);  // its own group, which a stop can signal as a whole
  tell(fd, {.kind = Report::begun, .pid = getpid()});
  bool is_ready = false;
  const auto fail = [&](int code, const char* message) {
    if (is_ready) spdlog::critical("{}", message);
    Report report{.kind = Report::failed, .pid = getpid(), .code = code};
    std::strncpy(report.message, message, sizeof report.message - 1);
    if (!is_ready) tell(fd, report);
    _exit(code);
  };
  try {
    leave_all_behind(settings, fd);
    const int status = body([&] {
      if (is_ready) return;
      is_ready = true;
      tell(fd, {.kind = Report::ready, .pid = getpid()});
      close(fd);
    });
    _exit(status);
  } catch (const Error& error) {
    fail(static_cast<int>(error.code()), error.what());
  } catch (const std::exception& error) {
    fail(static_cast<int>(Exit::software), error.what());
  }
  _exit(static_cast<int>(Exit::software));
}

}  // namespace

pid_t start_detached(const DetachSettings& settings,
                     const std::function<int(const std::function<void()>& ready)>& body) {
  const auto deadline = std::chrono::steady_clock::now() + settings.timeout;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0)
    throw Error(Exit::software, std::string("cannot make a pipe: ") + std::strerror(errno));
  Descriptor reports(ends[0]), writer(ends[1]);
  const Subreaper subreaper;
  std::fflush(nullptr);  // or the background process would print it again

  const auto cannot_fork = [] {
    return Error(Exit::try_again, std::string("cannot start a process: ") + std::strerror(errno) +
                                      "; see LimitNPROC or ulimit -u");
  };
  const auto between = fork();
  if (between < 0) throw cannot_fork();
  if (between == 0) {
    // The leader of the new session ends at once: its child can never get a terminal.
    setsid();
    const auto child = fork();
    if (child == 0) background(settings, writer.get(), body);
    _exit(child < 0 ? errno : 0);
  }
  writer.reset();
  int status = 0;
  while (waitpid(between, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    errno = WIFEXITED(status) ? WEXITSTATUS(status) : EAGAIN;
    throw cannot_fork();
  }

  pid_t pid = 0;
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd poll{.fd = reports.get(), .events = POLLIN, .revents = 0};
    const int ready = ::poll(&poll, 1, static_cast<int>(std::max<std::int64_t>(0, left.count())));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) {
      if (pid > 0) {  // our child, not reaped: the number is still its own
        kill(-pid, SIGKILL);
        kill(pid, SIGKILL);
        waitpid(pid, nullptr, 0);
      }
      throw Error(Exit::try_again, "the background process was not ready within " +
                                       format_duration(settings.timeout) + " and was ended; see its log");
    }
    Report report;
    const auto length = read(reports.get(), &report, sizeof report);
    if (length < 0 && errno == EINTR) continue;
    if (length == sizeof report) {
      pid = report.pid;
      if (report.kind == Report::ready) return pid;
      if (report.kind == Report::failed) {
        waitpid(pid, nullptr, 0);
        throw Error(static_cast<Exit>(report.code), report.message);
      }
      continue;
    }
    if (pid == 0 || waitpid(pid, &status, 0) != pid)
      throw Error(Exit::software, "the background process ended before it was ready; see its log");
    if (WIFSIGNALED(status))
      throw Error(Exit::software, "the background process was killed by signal " +
                                      std::to_string(WTERMSIG(status)) + " (" + strsignal(WTERMSIG(status)) +
                                      ") before it was ready; see its log");
    const int code = WEXITSTATUS(status);
    throw Error(code ? static_cast<Exit>(code) : Exit::unhealthy,
                "the background process ended with status " + std::to_string(code) +
                    " before it was ready; see its log");
  }
}

}  // namespace stem
