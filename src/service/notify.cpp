#include "service/notify.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <stem/error.hpp>
#include <utility>

namespace stem {
namespace {

std::string taken(const char* name) {
  const char* value = std::getenv(name);
  std::string text = value ? value : "";
  unsetenv(name);
  return text;
}

std::string one_line(std::string_view text) {
  std::string line(text.substr(0, 2048));  // the manager reads no more than 4096 bytes a message
  for (char& c : line)
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  return line;
}

/// The errno that says best why we leave, for ERRNO=.
int errno_of(int exit_status) {
  switch (static_cast<Exit>(exit_status)) {
    case Exit::ok:
      return 0;
    case Exit::usage:
    case Exit::data:
    case Exit::config:
      return EINVAL;
    case Exit::no_input:
      return ENOENT;
    case Exit::unavailable:
      return ENOTCONN;
    case Exit::cannot_create:
      return EIO;
    case Exit::try_again:
      return EAGAIN;
    case Exit::no_permission:
      return EACCES;
    default:
      return 0;
  }
}

}  // namespace

Notify Notify::from_environment() {
  const auto socket = taken("NOTIFY_SOCKET");
  const auto limit = taken("WATCHDOG_USEC");
  const auto pid = taken("WATCHDOG_PID");
  std::int64_t length = 0;
  std::from_chars(limit.data(), limit.data() + limit.size(), length);
  const bool ours = pid.empty() || pid == std::to_string(getpid());
  return Notify(socket, ours && length > 0 ? std::optional<Duration>(length) : std::nullopt);
}

Notify::Notify(const std::string& socket, std::optional<Duration> watchdog_limit) {
  sockaddr_un address{};
  if ((!socket.starts_with('/') && !socket.starts_with('@')) || socket.size() < 2 ||
      socket.size() >= sizeof address.sun_path)
    return;
  fd_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd_ < 0) return;
  const timeval patience{.tv_sec = 1, .tv_usec = 0};
  setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  address_ = socket;
  watchdog_limit_ = watchdog_limit;
}

Notify::Notify(Notify&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      address_(std::move(other.address_)),
      watchdog_limit_(other.watchdog_limit_),
      last_status_(std::move(other.last_status_)),
      last_status_at_(other.last_status_at_) {}

Notify::~Notify() {
  if (fd_ >= 0) close(fd_);
}

void Notify::leaving(int exit_status, std::string_view status) {
  leaving(exit_status, errno_of(exit_status), status);
}

void Notify::send(std::string_view message) {
  if (fd_ < 0) return;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, address_.data(), address_.size());
  if (address_.front() == '@') address.sun_path[0] = '\0';
  // A path's final NUL counts, an abstract name has none.
  const auto length = offsetof(sockaddr_un, sun_path) + address_.size() + (address_.front() == '@' ? 0 : 1);
  while (sendto(fd_, message.data(), message.size(), MSG_NOSIGNAL,
                reinterpret_cast<const sockaddr*>(&address), static_cast<socklen_t>(length)) < 0 &&
         errno == EINTR) {
  }
}

void Notify::ready(std::string_view status) {
  std::string message = "READY=1";
  if (!status.empty()) {
    last_status_ = status;
    last_status_at_ = std::chrono::steady_clock::now();
    message += "\nSTATUS=" + one_line(status);
  }
  send(message);
}

Duration Notify::status(std::string_view text) {
  if (fd_ < 0 || text == last_status_) return {};
  const auto now = std::chrono::steady_clock::now();
  const auto wait = std::chrono::ceil<Duration>(last_status_at_ + std::chrono::seconds(1) - now);
  if (last_status_at_ != SteadyTime{} && wait > Duration{}) return wait;
  last_status_ = text;
  last_status_at_ = now;
  send("STATUS=" + one_line(text));
  return {};
}

void Notify::watchdog() {
  send("WATCHDOG=1");
}

void Notify::reloading() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  send("RELOADING=1\nMONOTONIC_USEC=" +
       std::to_string(std::int64_t{now.tv_sec} * 1000000 + now.tv_nsec / 1000));
}

void Notify::stopping(Duration extend, std::string_view status) {
  send("STOPPING=1\nEXTEND_TIMEOUT_USEC=" + std::to_string(extend.count()) +
       (status.empty() ? "" : "\nSTATUS=" + one_line(status)));
}

void Notify::extend(Duration length, std::string_view status) {
  send("EXTEND_TIMEOUT_USEC=" + std::to_string(length.count()) +
       (status.empty() ? "" : "\nSTATUS=" + one_line(status)));
}

void Notify::leaving(int exit_status, int error_number, std::string_view status) {
  std::string message = "EXIT_STATUS=" + std::to_string(exit_status);
  if (error_number) message += "\nERRNO=" + std::to_string(error_number);
  if (!status.empty()) message += "\nSTATUS=" + one_line(status);
  send(message);
}

}  // namespace stem
