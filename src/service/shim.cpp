#include "service/shim.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <stem/error.hpp>

#include "core/descriptor.hpp"
#include "core/name.hpp"
#include "service/command_line.hpp"
#include "service/keeper.hpp"
#include "service/node_template.hpp"

namespace stem {
namespace {

/// The file to execute for a program's name, as execvp(3) finds it, but in the program's own PATH.
std::string find_program(const std::string& name, const Environment& environment,
                         const std::string& workdir) {
  if (name.find('/') != name.npos) return name;
  const auto found = environment.find("PATH");
  std::string_view path =
      found == environment.end() ? std::string_view("/usr/local/bin:/usr/bin:/bin") : found->second;
  for (;;) {
    const auto colon = path.find(':');
    auto directory = std::string(path.substr(0, colon));
    if (!directory.starts_with('/')) directory = (workdir.empty() ? "." : workdir) + "/" + directory;
    auto candidate = directory + "/" + name;
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
    if (colon == path.npos) break;
    path.remove_prefix(colon + 1);
  }
  throw Error(Exit::config,
              "command `" + printable(name) + "`: no such program in PATH; write its whole path");
}

/// Does this process do something of its own on that signal? A program that does not would die of it.
bool handles(pid_t pid, int number) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("SigCgt:") || line.starts_with("SigIgn:"))
      if (std::strtoull(line.c_str() + 7, nullptr, 16) >> (number - 1) & 1) return true;
  return false;
}

/// Cuts a stream into lines. A line without an end is given out once it is 64 KiB long.
class Lines {
 public:
  template <class Take>
  void add(std::string_view text, Take take) {
    rest_.append(text);
    std::size_t from = 0;
    for (std::size_t end; (end = rest_.find('\n', from)) != rest_.npos; from = end + 1)
      take(std::string_view(rest_).substr(from, end - from));
    rest_.erase(0, from);
    if (rest_.size() >= 65536) flush(take);
  }
  template <class Take>
  void flush(Take take) {
    if (!rest_.empty()) take(std::string_view(rest_));
    rest_.clear();
  }

 private:
  std::string rest_;
};

}  // namespace

struct Shim::State {
  State(ShimSettings settings, ServiceOutputs outputs) : settings(std::move(settings)), outputs(outputs) {}

  void watch(int fd) {
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
    if (epoll_ctl(events.get(), EPOLL_CTL_ADD, fd, &event) != 0)
      throw Error(Exit::software, std::string("epoll: ") + std::strerror(errno));
  }

  void start() {
    const auto words = split_command(settings.command);
    Keeper::Program program{.path = find_program(words.front(), settings.environment, settings.workdir),
                            .arguments = words,
                            .workdir = settings.workdir,
                            .environment = settings.environment,
                            .leftover_limit = settings.leftover_limit};
    name = words.front().substr(words.front().find_last_of('/') + 1);
    events.reset(epoll_create1(EPOLL_CLOEXEC));
    if (settings.speaks != ShimSettings::Speaks::no) listen(program.environment);
    Descriptor out_end;
    if (!outputs.log.file().empty()) {
      int ends[2];
      if (pipe2(ends, O_CLOEXEC) != 0)
        throw Error(Exit::try_again, std::string("cannot make a pipe: ") + std::strerror(errno));
      output.reset(ends[0]);
      out_end.reset(ends[1]);
      fcntl(output.get(), F_SETFL, O_NONBLOCK);
      program.out = program.err = out_end.get();
      watch(output.get());
    }
    // Should someone kill the keeper, what it kept comes to us.
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    keeper.emplace(program);
    out_end.reset();
    KeeperReport report{};
    if (!keeper->next(report) || report.kind != KeeperReport::Kind::started) {
      const int error = report.kind == KeeperReport::Kind::refused ? report.value : ECHILD;
      keeper.reset();
      throw Error(Exit::config,
                  "command `" + printable(settings.command) + "`: cannot run " + program.path + ": " +
                      std::strerror(error) +
                      (error == ENOENT ? "; the program, its interpreter or the working directory is missing"
                       : error == EACCES  ? "; make it executable for the user that the worker runs as"
                       : error == ENOEXEC ? "; it is no program for this machine, or a script without #!"
                                          : ""));
    }
    child = report.value;
    watch(keeper->fd());
    if (settings.speaks != ShimSettings::Speaks::yes) {
      settled.reset(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
      const auto length = std::max<std::int64_t>(1, settings.settle.count());
      const itimerspec when{.it_interval = {},
                            .it_value = {.tv_sec = length / 1000000, .tv_nsec = length % 1000000 * 1000}};
      timerfd_settime(settled.get(), 0, &when, nullptr);
      watch(settled.get());
    }
  }

  /// The program's own NOTIFY_SOCKET: an abstract one, whose name the kernel chooses.
  void listen(Environment& environment) {
    notices.reset(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    socklen_t length = sizeof(sa_family_t);
    const int on = 1;
    if (!notices || bind(notices.get(), reinterpret_cast<sockaddr*>(&address), length) != 0 ||
        setsockopt(notices.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0 ||
        getsockname(notices.get(), reinterpret_cast<sockaddr*>(&address), &(length = sizeof address)) != 0)
      throw Error(Exit::try_again, std::string("cannot make a notify socket: ") + std::strerror(errno));
    environment["NOTIFY_SOCKET"] =
        "@" + std::string(address.sun_path + 1, length - offsetof(sockaddr_un, sun_path) - 1);
    if (const auto limit = outputs.notify.watchdog_limit())
      environment["WATCHDOG_USEC"] = std::to_string(limit->count());
    watch(notices.get());
  }

  void take_events() {
    epoll_event ready[8];
    const int count = epoll_wait(events.get(), ready, 8, 0);
    for (int i = 0; i < count; ++i) {
      const int fd = ready[i].data.fd;
      if (settled && fd == settled.get()) {
        is_ready = true;
        settled.reset();
      } else if (notices && fd == notices.get()) {
        take_notices();
      } else if (output && fd == output.get()) {
        take_output();
      } else if (keeper && fd == keeper->fd()) {
        take_reports();
      }
    }
  }

  void take_output() {
    char block[16384];
    const auto count = read(output.get(), block, sizeof block);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    const auto write_line = [this](std::string_view line) { outputs.log.write_line(line); };
    if (count > 0) return lines.add({block, static_cast<std::size_t>(count)}, write_line);
    lines.flush(write_line);
    output.reset();
  }

  void take_reports() {
    KeeperReport report;
    bool none = false;
    while (keeper->poll(report, none)) {
      using Kind = KeeperReport::Kind;
      if (report.kind == Kind::ended) {
        exit_status = WIFSIGNALED(report.value) ? 128 + WTERMSIG(report.value) : WEXITSTATUS(report.value);
        if (WIFSIGNALED(report.value))
          spdlog::info("{} was ended by signal {} ({})", name, WTERMSIG(report.value),
                       strsignal(WTERMSIG(report.value)));
        child.reset();
      }
      if (report.kind == Kind::stopped) is_stopped = true;
      if (report.kind == Kind::continued) is_stopped = false;
    }
    if (none) return;
    // The keeper has ended. Only if someone killed it is there anything left, and that is ours now.
    keeper.reset();
    if (!exit_status) {
      spdlog::error("the keeper of {} was killed; ending what it kept", name);
      kill_children();
      exit_status = 128 + SIGKILL;
    }
    child.reset();
    if (output) take_output();
    is_over = true;
  }

  /// One message a turn of the loop: a program that floods us does not keep us from the rest.
  void take_notices() {
    char text[4096], control[256];
    iovec data{text, sizeof text};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const auto length = recvmsg(notices.get(), &message, MSG_CMSG_CLOEXEC);
    if (length <= 0) return;
    bool ours = false;
    for (auto* part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
      if (part->cmsg_level != SOL_SOCKET) continue;
      if (part->cmsg_type == SCM_CREDENTIALS) {
        ucred sender{};
        std::memcpy(&sender, CMSG_DATA(part), sizeof sender);
        ours = sender.uid == geteuid() || sender.uid == 0;
      } else if (part->cmsg_type == SCM_RIGHTS) {
        // sd_notify_barrier(3) waits for its descriptor to be closed.
        const auto count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
          int fd = -1;
          std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
          close(fd);
        }
      }
    }
    if (ours) hear({text, static_cast<std::size_t>(length)});
  }

  /// READY=1 and STATUS= go to the manager through vitals(), like a worker's own; the rest is handed on as it
  /// is, but for MAINPID= and FDSTORE=, which only we could mean.
  void hear(std::string_view message) {
    std::string passed;
    bool ready_again = false;
    while (!message.empty()) {
      const auto line = message.substr(0, message.find('\n'));
      message.remove_prefix(std::min(message.size(), line.size() + 1));
      if (line == "READY=1") {
        ready_again = is_ready && is_reloading;
        is_reloading = false;
        is_ready = true;
        settled.reset();
      } else if (line.starts_with("STATUS=")) {
        status = std::string(line.substr(7));
      } else {
        if (line == "WATCHDOG=1") feeds_watchdog = true;
        if (line == "RELOADING=1") is_reloading = true;
        for (const std::string_view key :
             {"WATCHDOG=", "WATCHDOG_USEC=", "RELOADING=", "MONOTONIC_USEC=", "STOPPING=",
              "EXTEND_TIMEOUT_USEC=", "ERRNO=", "BUSERROR=", "EXIT_STATUS="})
          if (line.starts_with(key)) passed.append(passed.empty() ? "" : "\n").append(line);
      }
    }
    if (ready_again) passed += passed.empty() ? "READY=1" : "\nREADY=1";
    if (!passed.empty()) outputs.notify.send(passed);
  }

  const ShimSettings settings;
  ServiceOutputs outputs;
  std::string name;
  Descriptor events, notices, settled, output;
  Lines lines;
  std::optional<Keeper> keeper;
  std::optional<pid_t> child;
  std::optional<int> exit_status;
  std::string status;
  bool is_ready = false;
  bool is_stopped = false;
  bool is_reloading = false;
  bool is_over = false;
  bool feeds_watchdog = false;
  std::optional<StopMode> mode;
};

ShimSettings ShimSettings::from(const Config& config, const ServiceSettings& service,
                                const Environment& environment) {
  ShimSettings settings;
  settings.command = config.command;
  split_command(settings.command);  // what is wrong with it is said now
  settings.speaks = config.command_notify == "yes"  ? Speaks::yes
                    : config.command_notify == "no" ? Speaks::no
                                                    : Speaks::automatic;
  auto& program = settings.environment = environment;
  for (const char* ours :
       {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "STEM_WORKER_COMMAND", "STEMD_COMMAND"})
    program.erase(ours);
  const auto give = [&](const char* name, const std::string& value) {
    if (value.empty())
      program.erase(name);
    else
      program[name] = value;
  };
  const auto joined = [](const std::vector<std::string>& names) {
    std::string all;
    for (const auto& name : names) all += (all.empty() ? "" : ",") + name;
    return all;
  };
  give("STEM_WORKER_NODE", service.node);
  give("STEM_WORKER_HOST", host_name());
  give("STEM_WORKER_PIDFILE", service.pidfile);
  give("STEM_WORKER_LOGFILE", service.logfile);
  give("STEM_WORKER_QUEUES", joined(config.queues));
  give("STEM_WORKER_BROADCASTS", joined(config.broadcasts));
  program.emplace("STEM_WORKER_INDEX", "1");
  return settings;
}

Shim::Shim(ShimSettings settings, ServiceOutputs outputs)
    : state_(std::make_unique<State>(std::move(settings), outputs)) {}
Shim::~Shim() = default;

void Shim::start() {
  state_->start();
}
int Shim::event_fd() const {
  return state_->events.get();
}
void Shim::clear_event() {
  state_->take_events();
}

Vitals Shim::vitals() const {
  Vitals vitals;
  vitals.ready = state_->is_ready && !state_->exit_status;
  vitals.child = state_->child;
  vitals.feeds_watchdog = state_->feeds_watchdog;
  if (state_->is_stopped && state_->child) vitals.stuck.push_back(state_->name + " is stopped by a signal");
  if (!state_->status.empty())
    vitals.status = state_->status;
  else if (state_->exit_status)
    vitals.status = state_->name + " ended with status " + std::to_string(*state_->exit_status);
  else
    vitals.status = state_->name + (state_->is_ready ? " runs" : " starts");
  return vitals;
}

std::optional<int> Shim::finished() const {
  return state_->is_over ? state_->exit_status : std::nullopt;
}

void Shim::stop(StopMode mode) {
  auto& keeper = state_->keeper;
  if (!keeper) return;
  if (mode == StopMode::hard)
    keeper->kill_all();
  else
    keeper->signal(mode == StopMode::soft && !state_->mode ? SIGINT : SIGTERM);
  state_->mode = mode;
}

void Shim::reload() {
  if (!state_->keeper || !state_->child) return;
  if (!handles(*state_->child, SIGHUP))
    throw Error(Exit::config,
                state_->name + " does not handle SIGHUP and would die of it, so it was not sent");
  state_->keeper->signal(SIGHUP);
}

void Shim::signal(int number) {
  if (state_->keeper) state_->keeper->signal(number);
}

}  // namespace stem
