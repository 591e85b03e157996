#include "worker/child_frame.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stem/error.hpp>

namespace stem {
namespace {

constexpr std::uint32_t mark = 0x5354454d;
constexpr std::uint64_t longest = std::uint64_t{1} << 31;

struct Head {
  std::uint32_t mark;
  ChildFrame::Kind kind;
  std::uint64_t length;
};

}  // namespace

Fields& Fields::number(std::int64_t value) {
  bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  return *this;
}

Fields& Fields::real(double value) {
  bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  return *this;
}

Fields& Fields::text(std::string_view value) {
  number(static_cast<std::int64_t>(value.size()));
  bytes_.append(value);
  return *this;
}

std::string_view FieldReader::take(std::size_t length) {
  if (length > rest_.size()) throw Error(Exit::software, "a message of a pool's child ends too early");
  const auto taken = rest_.substr(0, length);
  rest_.remove_prefix(length);
  return taken;
}

std::int64_t FieldReader::number() {
  std::int64_t value;
  std::memcpy(&value, take(sizeof value).data(), sizeof value);
  return value;
}

double FieldReader::real() {
  double value;
  std::memcpy(&value, take(sizeof value).data(), sizeof value);
  return value;
}

std::string_view FieldReader::text() {
  return take(static_cast<std::size_t>(number()));
}

ChildChannel::Wait ChildChannel::wait(short events, int ended, std::optional<SteadyTime> deadline) const {
  for (;;) {
    pollfd fds[] = {{socket_.get(), events, 0}, {ended, POLLIN, 0}};
    int limit = -1;
    if (deadline) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(*deadline - std::chrono::steady_clock::now());
      limit = static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 3'600'000));
    }
    const int count = poll(fds, ended < 0 ? 1 : 2, limit);
    if (count < 0 && errno != EINTR) return Wait::ended;
    if (count > 0) return fds[0].revents ? Wait::ready : Wait::ended;
    if (count == 0 && deadline && std::chrono::steady_clock::now() >= *deadline) return Wait::late;
  }
}

ChildChannel::Event ChildChannel::send(const ChildFrame& frame, int ended,
                                       std::optional<SteadyTime> deadline) {
  Head head{mark, frame.kind, frame.fields.size()};
  std::size_t sent = 0;
  const auto all = sizeof head + frame.fields.size();
  while (sent < all) {
    iovec parts[2];
    std::size_t count = 0;
    if (sent < sizeof head) parts[count++] = {reinterpret_cast<char*>(&head) + sent, sizeof head - sent};
    const auto at = sent > sizeof head ? sent - sizeof head : 0;
    if (at < frame.fields.size())
      parts[count++] = {const_cast<char*>(frame.fields.data()) + at, frame.fields.size() - at};
    msghdr message{};
    message.msg_iov = parts;
    message.msg_iovlen = count;
    const auto done = sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (done >= 0) {
      sent += static_cast<std::size_t>(done);
    } else if (errno == EAGAIN) {
      const auto state = wait(POLLOUT, ended, deadline);
      if (state != Wait::ready) return state == Wait::late ? Event::late : Event::ended;
    } else if (errno != EINTR) {
      return Event::ended;
    }
  }
  return Event::frame;
}

/// A frame out of what was received, if there is a whole one.
bool ChildChannel::next(ChildFrame& frame) {
  Head head;
  const auto there = received_.size() - read_;
  if (there < sizeof head) return false;
  std::memcpy(&head, received_.data() + read_, sizeof head);
  if (head.mark != mark || head.length > longest)
    throw Error(Exit::software, "a pool's child does not speak as it should");
  if (there < sizeof head + head.length) {
    received_.reserve(read_ + sizeof head + head.length);
    return false;
  }
  frame.kind = head.kind;
  frame.fields.assign(received_, read_ + sizeof head, head.length);
  read_ += sizeof head + head.length;
  if (read_ == received_.size()) {
    // What one large job took is not kept for all that follow; an assignment would keep it.
    if (received_.capacity() > 1U << 20)
      std::string().swap(received_);
    else
      received_.clear();
    read_ = 0;
  }
  return true;
}

ChildChannel::Event ChildChannel::receive(ChildFrame& frame, int ended, std::optional<SteadyTime> deadline) {
  bool over = false;
  for (;;) {
    if (next(frame)) return Event::frame;
    char bytes[16384];
    const auto count = recv(socket_.get(), bytes, sizeof bytes, MSG_DONTWAIT);
    if (count > 0) {
      received_.append(bytes, static_cast<std::size_t>(count));
      continue;
    }
    if (count == 0 || (errno != EAGAIN && errno != EINTR)) return Event::ended;
    if (errno == EINTR) continue;
    if (over) return Event::ended;
    const auto state = wait(POLLIN, ended, deadline);
    if (state == Wait::late) return Event::late;
    // It may have spoken just before.
    over = state == Wait::ended;
  }
}

}  // namespace stem
