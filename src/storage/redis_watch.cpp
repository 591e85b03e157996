#include "storage/redis_watch.hpp"

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

RedisWatch::RedisWatch(const RedisAddress& address, std::string channel)
    : address_(address),
      channel_(std::move(channel)),
      poll_(epoll_create1(EPOLL_CLOEXEC)),
      timer_(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)),
      poked_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!poll_ || !timer_ || !poked_)
    throw Error(Exit::try_again, std::string("cannot wait for a wake-up: ") + std::strerror(errno));
  watch(poll_.get(), timer_.get());
  watch(poll_.get(), poked_.get());
  try {
    subscribe();
  } catch (const Error& error) {
    if (error.code() != Exit::unavailable) throw;
    tick(true);
  }
  address_.timeout = std::min<Duration>(address_.timeout, patience);
}

void RedisWatch::subscribe() {
  auto connection = std::make_unique<RedisConnection>(address_);
  std::string bytes;
  RedisCommand{"SUBSCRIBE", channel_}.append_to(bytes);
  connection->send(bytes);
  // Nothing that is published from now on is missed.
  if (const auto reply = connection->receive(); reply->is_error())
    throw redis_error("Redis at " + address_.shown(), reply->text);
  watch(poll_.get(), connection->fd());
  connection_ = std::move(connection);
}

void RedisWatch::tick(bool on) {
  const itimerspec second{.it_interval = {.tv_sec = on, .tv_nsec = 0}, .it_value = {.tv_sec = on, .tv_nsec = 0}};
  timerfd_settime(timer_.get(), 0, &second, nullptr);
}

bool RedisWatch::clear(const std::function<void(std::string_view)>& hear) {
  const std::lock_guard lock(mutex_);
  std::uint64_t count = 0;
  (void)!::read(timer_.get(), &count, sizeof count);
  const bool poked = ::read(poked_.get(), &count, sizeof count) > 0;
  const auto take = [&](const RedisValue& message) {
    // `message`, channel, text
    if (hear && message.size() == 3) hear(message[2].text);
  };
  if (connection_ && connection_->drain(take)) return !poked;
  try {
    connection_.reset();  // closed, and so out of the poll
    subscribe();
    tick(false);
  } catch (const Error&) {
    // The broker's own connection tells what is wrong.
    tick(true);
  }
  return false;
}

void RedisWatch::poke() const noexcept {
  const std::uint64_t one = 1;
  (void)!::write(poked_.get(), &one, sizeof one);
}

std::uint64_t RedisListener::heard() {
  const std::lock_guard lock(mutex_);
  return heard_;
}

void RedisListener::wait(std::uint64_t heard, SteadyTime deadline) {
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
