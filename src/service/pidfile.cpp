#include "service/pidfile.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <stem/error.hpp>
#include <thread>

#include "core/descriptor.hpp"

namespace stem {
namespace {

// A pidfile is a number and a newline. What is longer was made by someone for another purpose.
constexpr off_t longest = 64;

bool same_file(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/// Someone holds the write lock on the file. Only those who may write the file can hold one, so a mere reader
/// of the file cannot make a dead worker look alive.
bool is_held(int fd) {
  struct flock lock {};
  lock.l_type = F_RDLCK;
  lock.l_whence = SEEK_SET;
  return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_WRLCK;
}

/// The number that the file holds: at least 1, or 0 if there is none. Beyond the number only white space may
/// follow.
pid_t number_in(int fd) {
  char text[longest + 1];
  const auto length = pread(fd, text, sizeof text, 0);
  if (length <= 0 || length > longest) return 0;
  auto end = text + length;
  while (end > text && std::strchr(" \t\r\n", end[-1])) --end;
  pid_t pid = 0;
  const auto [rest, error] = std::from_chars(text, end, pid);
  return error == std::errc{} && rest == end && pid > 0 ? pid : 0;
}

int pidfd_open(pid_t pid) {
  return static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
}

/// A zombie has ended; it keeps its number.
bool has_ended(pid_t pid) {
  const Descriptor handle(pidfd_open(pid));
  if (!handle) return errno == ESRCH;
  pollfd end{.fd = handle.get(), .events = POLLIN, .revents = 0};
  return ::poll(&end, 1, 0) > 0;
}

/// Does this process have the file open, with the write lock on it?
enum class Proof { holds, does_not, hidden };
Proof prove(pid_t pid, const struct stat& file) {
  const auto base = "/proc/" + std::to_string(pid);
  DIR* list = opendir((base + "/fd").c_str());
  if (!list) return errno == ENOENT || errno == ESRCH ? Proof::does_not : Proof::hidden;
  Proof proof = Proof::does_not;
  while (const auto* entry = readdir(list)) {
    struct stat status {};
    const std::string name = entry->d_name;
    if (name.starts_with('.') || stat((base + "/fd/" + name).c_str(), &status) != 0 ||
        !same_file(status, file))
      continue;
    const Descriptor info(open((base + "/fdinfo/" + name).c_str(), O_RDONLY | O_CLOEXEC));
    char text[4096];
    const auto length = info ? read(info.get(), text, sizeof text) : 0;
    const std::string_view lines(text, length > 0 ? static_cast<std::size_t>(length) : 0);
    const auto lock = lines.find("lock:");
    if (lock == lines.npos) continue;
    const auto line = lines.substr(lock, lines.find('\n', lock) - lock);
    if (line.find("OFDLCK") != line.npos && line.find("WRITE") != line.npos) proof = Proof::holds;
  }
  closedir(list);
  return proof;
}

/// Opens what is at `path` for a look; `state` says what it is if that is no regular file.
Descriptor open_for_look(const std::string& path, PidfileState& state, struct stat& status) {
  Descriptor file(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  using Kind = PidfileState::Kind;
  if (!file) {
    const int error = errno;
    // A loop among the directories above it: there is nothing, as far as the pidfile goes.
    const bool loop = error == ELOOP && lstat(path.c_str(), &status) != 0;
    state.kind = error == ENOENT || error == ENOTDIR || loop ? Kind::missing
                 : error == ELOOP || error == ENXIO          ? Kind::foreign
                                                             : Kind::forbidden;
    state.detail = error == ELOOP ? "a symbolic link" : std::strerror(error);
    return file;
  }
  if (fstat(file.get(), &status) != 0) {
    state.kind = Kind::forbidden;
    state.detail = std::strerror(errno);
    file.reset();
  } else if (!S_ISREG(status.st_mode)) {
    state.kind = Kind::foreign;
    state.detail = S_ISDIR(status.st_mode) ? "a directory" : "not a regular file";
    file.reset();
  }
  return file;
}

}  // namespace

Pidfile::Pidfile(std::string path) : path_(std::move(path)) {
  const auto refuse = [&](Exit code, const std::string& why) {
    return Error(code, "cannot use pidfile " + path_ + ": " + why);
  };
  // The one who held it may remove it between our open and our lock; then we look again.
  for (int attempt = 0; attempt < 100; ++attempt) {
    Descriptor file(
        open(path_.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0644));
    if (!file) {
      if (errno == ELOOP)
        throw refuse(Exit::no_permission, "a symbolic link; remove it or name another path");
      const bool permission = errno == EACCES || errno == EPERM;
      throw refuse(permission ? Exit::no_permission : Exit::cannot_create,
                   std::string(std::strerror(errno)) +
                       (errno == ENOENT ? "; make the directory" : "; name another path"));
    }
    struct stat status {};
    if (fstat(file.get(), &status) != 0) throw refuse(Exit::cannot_create, std::strerror(errno));
    if (!S_ISREG(status.st_mode))
      throw refuse(Exit::cannot_create, "not a regular file; remove it or name another path");
    if (status.st_uid != geteuid())
      throw refuse(Exit::no_permission,
                   "it belongs to another user (uid " + std::to_string(status.st_uid) + "); remove it");
    if (status.st_nlink > 1)
      throw refuse(Exit::no_permission, "it has a second name (a hard link); remove it");

    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    if (fcntl(file.get(), F_OFD_SETLK, &lock) != 0) {
      if (errno != EAGAIN && errno != EACCES)
        throw refuse(Exit::cannot_create, std::string("no lock: ") + std::strerror(errno) +
                                              "; name a path on a local file system");
      const auto pid = number_in(file.get());
      throw refuse(Exit::try_again, "a running worker holds it" +
                                        (pid ? " (pid " + std::to_string(pid) + ")" : "") +
                                        "; stop that one first, or give this node another name");
    }
    struct stat now {};
    if (lstat(path_.c_str(), &now) != 0 || !same_file(status, now)) continue;
    if (fstat(file.get(), &status) == 0 && status.st_size > longest)
      throw refuse(Exit::cannot_create, "it holds something else than a pid; remove it or name another path");
    if (ftruncate(file.get(), 0) != 0) throw refuse(Exit::cannot_create, std::strerror(errno));
    fchmod(file.get(), 0644);  // whatever the umask: others may ask whether we live
    fd_ = file.release();
    return;
  }
  throw refuse(Exit::try_again, "it comes and goes; another start is under way");
}

Pidfile::~Pidfile() {
  struct stat ours {
  }, there{};
  if (fstat(fd_, &ours) == 0 && lstat(path_.c_str(), &there) == 0 && same_file(ours, there))
    unlink(path_.c_str());
  close(fd_);
}

void Pidfile::write() {
  const auto text = std::to_string(getpid()) + "\n";
  if (ftruncate(fd_, 0) != 0 || pwrite(fd_, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()))
    throw Error(Exit::cannot_create,
                "cannot write pidfile " + path_ + ": " + std::strerror(errno) + "; make room");
}

bool remove_stale_pidfile(const std::string& path) {
  const auto slash = path.find_last_of('/');
  const auto directory = slash == path.npos ? "." : path.substr(0, slash + 1);
  const auto name = slash == path.npos ? path : path.substr(slash + 1);
  const Descriptor place(open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  struct stat around {
  }, status{}, now{};
  if (!place || fstat(place.get(), &around) != 0) return false;
  const Descriptor file(
      openat(place.get(), name.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!file || fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode) || status.st_nlink != 1)
    return false;
  // Who owns the directory could remove the file as well: root does nothing there that they could not.
  const bool theirs = geteuid() == 0 && status.st_uid == around.st_uid;
  if (status.st_uid != geteuid() && !theirs) return false;
  if (status.st_size > 0 && number_in(file.get()) == 0) return false;
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  if (fcntl(file.get(), F_OFD_SETLK, &lock) != 0) return false;
  if (fstatat(place.get(), name.c_str(), &now, AT_SYMLINK_NOFOLLOW) != 0 || !same_file(status, now))
    return false;
  return unlinkat(place.get(), name.c_str(), 0) == 0;
}

PidfileState read_pidfile(const std::string& path) {
  PidfileState state;
  struct stat status {};
  const auto file = open_for_look(path, state, status);
  if (!file) return state;
  state.pid = number_in(file.get());
  using Kind = PidfileState::Kind;
  if (is_held(file.get())) {
    state.kind = state.pid ? Kind::live : Kind::starting;
  } else if (status.st_size > 0 && !state.pid) {
    state.kind = Kind::foreign;
    state.detail = "it holds something else than a pid";
  } else {
    state.kind = Kind::stale;
  }
  return state;
}

std::optional<PidfileHolder> PidfileHolder::open(const std::string& path) {
  const auto refuse = [&](Exit code, const std::string& why) {
    return Error(code, "pidfile " + path + ": " + why);
  };
  // Between lock and pid a starting worker has a moment without a number in the file.
  for (int attempt = 0; attempt < 200; ++attempt) {
    PidfileState state;
    struct stat status {};
    const auto file = open_for_look(path, state, status);
    if (state.kind == PidfileState::Kind::forbidden)
      throw refuse(Exit::no_permission, state.detail + "; run this as root or as the worker's user");
    if (!file || !is_held(file.get())) return {};
    const auto pid = number_in(file.get());
    if (pid) {
      // First the handle, then the proof: should the number pass on to another process, that one has no
      // proof.
      Descriptor handle(pidfd_open(pid));
      const auto proof = handle ? prove(pid, status) : Proof::does_not;
      if (proof == Proof::holds) return PidfileHolder(pid, handle.release());
      if (proof == Proof::hidden)
        throw refuse(Exit::no_permission, "process " + std::to_string(pid) +
                                              " belongs to another user; run this as root or as that user");
      if (is_held(file.get()) && number_in(file.get()) == pid && attempt > 50)
        throw refuse(Exit::software,
                     "it is held, but not by process " + std::to_string(pid) +
                         " that it names: that is forged, or the worker runs in another container; "
                         "no process was touched");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  throw refuse(Exit::try_again, "the worker that holds it has not written its pid yet");
}

PidfileHolder::PidfileHolder(PidfileHolder&& other) noexcept
    : pid_(other.pid_), fd_(std::exchange(other.fd_, -1)) {}

PidfileHolder& PidfileHolder::operator=(PidfileHolder&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(fd_, other.fd_);
  return *this;
}

PidfileHolder::~PidfileHolder() {
  if (fd_ >= 0) close(fd_);
}

bool PidfileHolder::signal(int number) const {
  if (syscall(SYS_pidfd_send_signal, fd_, number, nullptr, 0) == 0) return true;
  if (errno == ESRCH) return false;
  throw Error(Exit::no_permission, "cannot signal process " + std::to_string(pid_) + ": " +
                                       std::strerror(errno) + "; run this as root or as the worker's user");
}

bool PidfileHolder::signal_group(int number) const {
  // A group has no handle like a pidfd. A stopped leader cannot end by itself, so that its number, which is
  // the group's, stays its own between the question and the call. A daemon that was forked twice, as
  // start-stop-daemon does it, is in the group of the process between, which made the session and has gone;
  // as long as the group has a member, no new process gets its number.
  const pid_t group = getpgid(pid_);
  const bool left_alone = group > 1 && group != pid_ && group == getsid(pid_) && has_ended(group);
  if ((group != pid_ && !left_alone) || getpgrp() == group) return signal(number);
  if (!signal(SIGSTOP)) return false;
  const bool sent = !wait(0) && ::kill(-group, number) == 0;
  signal(SIGCONT);
  return sent;
}

bool PidfileHolder::wait(int timeout_ms) const {
  pollfd poll{.fd = fd_, .events = POLLIN, .revents = 0};
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    const int ready = ::poll(&poll, 1, static_cast<int>(std::max<std::int64_t>(0, left.count())));
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

}  // namespace stem
