#include "storage/server_watch.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include <cerrno>
#include <cstring>
#include <stem/error.hpp>

namespace stem {
namespace {

// Whoever clears a watch has better things to do than to wait for a server that is away.
constexpr std::chrono::milliseconds patience{500};

void watch(int poll, int fd) {
  epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
  if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event) < 0)
    throw Error(Exit::try_again, std::string("cannot wait for a wake-up: ") + std::strerror(errno));
}

}  // namespace

ServerWatch::ServerWatch(Subscribe subscribe)
    : subscribe_(std::move(subscribe)),
      poll_(epoll_create1(EPOLL_CLOEXEC)),
      timer_(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)),
      poked_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!poll_ || !timer_ || !poked_)
    throw Error(Exit::try_again, std::string("cannot wait for a wake-up: ") + std::strerror(errno));
  watch(poll_.get(), timer_.get());
  watch(poll_.get(), poked_.get());
  try {
    connect(Duration::max());
  } catch (const Error& error) {
    if (error.code() != Exit::unavailable) throw;
    tick(true);
  }
}

void ServerWatch::connect(Duration longest) {
  auto subscription = subscribe_(longest);
  watch(poll_.get(), subscription->fd());
  subscription_ = std::move(subscription);
}

void ServerWatch::tick(bool on) {
  const itimerspec second{.it_interval = {.tv_sec = on, .tv_nsec = 0},
                          .it_value = {.tv_sec = on, .tv_nsec = 0}};
  timerfd_settime(timer_.get(), 0, &second, nullptr);
}

bool ServerWatch::clear(const std::function<void(std::string_view)>& hear) {
  const std::lock_guard lock(mutex_);
  std::uint64_t count = 0;
  (void)!::read(timer_.get(), &count, sizeof count);
  const bool poked = ::read(poked_.get(), &count, sizeof count) > 0;
  if (subscription_ && subscription_->drain(hear)) return !poked;
  try {
    subscription_.reset();  // closed, and so out of the poll
    connect(patience);
    tick(false);
  } catch (const Error&) {
    // The broker's own connection tells what is wrong.
    tick(true);
  }
  return false;
}

void ServerWatch::poke() const noexcept {
  const std::uint64_t one = 1;
  (void)!::write(poked_.get(), &one, sizeof one);
}

}  // namespace stem
