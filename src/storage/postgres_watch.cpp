#include "storage/postgres_watch.hpp"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

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

PostgresWatch::PostgresWatch(const PostgresAddress& address, std::string channel)
    : address_(address),
      channel_(std::move(channel)),
      poll_(epoll_create1(EPOLL_CLOEXEC)),
      timer_(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)),
      poked_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!poll_ || !timer_ || !poked_)
    throw Error(Exit::try_again, std::string("cannot wait for a wake-up: ") + std::strerror(errno));
  watch(poll_.get(), timer_.get());
  watch(poll_.get(), poked_.get());
  listen();
  address_.timeout = address_.connect_timeout = std::min<Duration>(address_.timeout, patience);
}

void PostgresWatch::listen() {
  auto connection = std::make_unique<PostgresConnection>(address_);
  // Nothing that is committed from now on is missed.
  connection->execute("LISTEN \"" + channel_ + "\"");
  watch(poll_.get(), connection->fd());
  connection_ = std::move(connection);
}

void PostgresWatch::tick(bool on) {
  const itimerspec second{.it_interval = {.tv_sec = on, .tv_nsec = 0}, .it_value = {.tv_sec = on, .tv_nsec = 0}};
  timerfd_settime(timer_.get(), 0, &second, nullptr);
}

bool PostgresWatch::clear(const std::function<void(std::string_view)>& heard) {
  const std::lock_guard lock(mutex_);
  std::uint64_t count = 0;
  (void)!::read(timer_.get(), &count, sizeof count);
  const bool poked = ::read(poked_.get(), &count, sizeof count) > 0;
  if (connection_ && connection_->drain(heard)) return !poked;
  try {
    connection_.reset();  // closed, and so out of the poll
    listen();
    tick(false);
  } catch (const Error&) {
    // The broker's own connection tells what is wrong.
    tick(true);
  }
  return false;
}

void PostgresWatch::poke() const noexcept {
  const std::uint64_t one = 1;
  (void)!::write(poked_.get(), &one, sizeof one);
}

std::uint64_t PostgresListener::heard() {
  const std::lock_guard lock(mutex_);
  return heard_;
}

void PostgresListener::wait(std::uint64_t heard, SteadyTime deadline) {
  std::unique_lock lock(mutex_);
  while (heard_ <= heard) {
    const auto now = std::chrono::steady_clock::now();
    if (now >= deadline) return;
    if (listening_) {
      changed_.wait_until(lock, deadline);
      continue;
    }
    listening_ = true;
    lock.unlock();
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - now).count();
    pollfd one{.fd = watch_.fd(), .events = POLLIN, .revents = 0};
    const bool rung = ::poll(&one, 1, static_cast<int>(std::min<std::int64_t>(left, INT_MAX))) > 0;
    if (rung) watch_.clear();
    lock.lock();
    listening_ = false;
    if (rung) ++heard_;
    // Also when nothing was heard: one of the others has to listen now.
    changed_.notify_all();
  }
}

}  // namespace stem
