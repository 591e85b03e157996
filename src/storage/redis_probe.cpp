#include "storage/redis_probe.hpp"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <string_view>

#include "core/descriptor.hpp"

namespace stem {
namespace {

using namespace std::chrono;
constexpr milliseconds patience{500};

/// The first byte of the answer to `question`; -1 if there is none.
int first_byte(const sockaddr_storage& server, socklen_t size, std::string_view question) {
  const auto deadline = steady_clock::now() + patience;
  const Descriptor socket(::socket(server.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const auto ready = [&](short events) {
    for (;;) {
      const auto left = ceil<milliseconds>(deadline - steady_clock::now()).count();
      pollfd one{.fd = socket.get(), .events = events, .revents = 0};
      const int count = ::poll(&one, 1, static_cast<int>(std::max<std::int64_t>(left, 0)));
      if (count >= 0 || errno != EINTR) return count > 0;
    }
  };
  if (!socket) return -1;
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&server), size) != 0 &&
      (errno != EINPROGRESS || !ready(POLLOUT)))
    return -1;
  unsigned char byte = 0;
  // It is less than any socket takes at once.
  if (::send(socket.get(), question.data(), question.size(), MSG_NOSIGNAL) < 0 || !ready(POLLIN)) return -1;
  return ::recv(socket.get(), &byte, 1, 0) == 1 ? byte : -1;
}

/// The shortest ClientHello of TLS 1.2: one cipher, no extension. Any server answers it with a record, if
/// only an alert.
constexpr unsigned char hello[] = {
    0x16, 3,   1,   0,   45,  1,   0,   0,   41,   3,    3,              // record, handshake, version
    's',  't', 'e', 'm', ' ', 'a', 's', 'k', 's',  ' ',  'w', 'h', 'e',  // the random
    't',  'h', 'e', 'r', ' ', 't', 'h', 'i', 's',  ' ',  'i', 's', ' ', 'T',
    'L',  'S', '?', ' ', ' ', 0,   0,   2,   0xc0, 0x2f, 1,   0};  // no session, ECDHE-RSA-AES128-GCM-SHA256,
                                                                   // no compression
static_assert(sizeof hello == 5 + 45);

}  // namespace

bool speaks_redis(const sockaddr_storage& server, socklen_t size) {
  const int byte = first_byte(server, size, "PING\r\n");
  return byte == '+' || byte == '-';
}

bool speaks_tls(const sockaddr_storage& server, socklen_t size) {
  const int byte = first_byte(server, size, {reinterpret_cast<const char*>(hello), sizeof hello});
  return byte == 0x15 || byte == 0x16;  // an alert, or a handshake
}

}  // namespace stem
