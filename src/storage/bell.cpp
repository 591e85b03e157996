#include "storage/bell.hpp"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stem/error.hpp>

namespace stem {
namespace {

// O_NONBLOCK and O_NOCTTY: whatever stands in the bell's place, opening it must not block or have other
// effects.
constexpr int look = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

void watch(int poll, int fd) {
  epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
  if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event) < 0)
    throw Error(Exit::try_again, std::string("cannot wait for a wake-up: ") + std::strerror(errno));
}

}  // namespace

Bell::Bell(std::string path, std::string beside) : path_(std::move(path)), beside_(std::move(beside)) {}

void Bell::ring() const noexcept {
  const Descriptor bell(::open(path_.c_str(), look));
  if (!bell && errno == ENOENT) hang();
}

bool Bell::hang() const noexcept {
  struct stat database {};
  const auto mode = ::stat(beside_.c_str(), &database) == 0 ? database.st_mode & 0666 : 0640;
  const Descriptor bell(::open(path_.c_str(), look | O_CREAT | O_EXCL, mode));
  if (!bell) return errno == EEXIST;
  // The mask of this process must not lock out those who may use the database; nor may its being root.
  // Whoever lacks the right to do this is the owner already.
  (void)::fchmod(bell.get(), mode);
  if (::geteuid() == 0 && database.st_uid != 0) (void)!::fchown(bell.get(), database.st_uid, database.st_gid);
  return true;
}

BellWatch::BellWatch(Bell bell)
    : bell_(std::move(bell)),
      poll_(epoll_create1(EPOLL_CLOEXEC)),
      timer_(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)) {
  if (!poll_ || !timer_)
    throw Error(Exit::try_again, std::string("cannot wait for a wake-up: ") + std::strerror(errno));
  watch(poll_.get(), timer_.get());
  arm();
}

void BellWatch::arm() {
  if (!inotify_) {
    inotify_.reset(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (inotify_) watch(poll_.get(), inotify_.get());
  }
  if (watch_ < 0 && inotify_ && bell_.hang())
    watch_ = inotify_add_watch(inotify_.get(), bell_.path().c_str(),
                               IN_OPEN | IN_DELETE_SELF | IN_MOVE_SELF | IN_ATTRIB);
  tick(watch_ < 0);
}

void BellWatch::tick(bool on) {
  const itimerspec second{.it_interval = {.tv_sec = on, .tv_nsec = 0},
                          .it_value = {.tv_sec = on, .tv_nsec = 0}};
  timerfd_settime(timer_.get(), 0, &second, nullptr);
}

void BellWatch::clear() {
  const std::lock_guard lock(mutex_);
  std::uint64_t ticks = 0;
  (void)!::read(timer_.get(), &ticks, sizeof ticks);
  alignas(inotify_event) char buffer[4096];
  bool lost = false;
  while (inotify_) {
    const auto size = ::read(inotify_.get(), buffer, sizeof buffer);
    if (size <= 0) break;
    for (ssize_t at = 0; at < size;) {
      inotify_event event;
      std::memcpy(&event, buffer + at, sizeof event);
      at += static_cast<ssize_t>(sizeof event + event.len);
      // The last word on a watch that was given up earlier comes late. IN_ATTRIB comes with an unlink while
      // somebody holds the file open, but also with an innocent chmod.
      if (event.wd == watch_ &&
          (event.mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF | IN_ATTRIB | IN_UNMOUNT)))
        lost = true;
    }
  }
  if (lost && watch_ >= 0) {
    inotify_rm_watch(inotify_.get(), watch_);
    watch_ = -1;
  }
  if (watch_ < 0) arm();
}

}  // namespace stem
