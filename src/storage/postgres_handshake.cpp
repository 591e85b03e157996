#include "storage/postgres_handshake.hpp"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <stem/error.hpp>
#include <string_view>

#include "core/descriptor.hpp"
#include "storage/tls_stream.hpp"

namespace stem {
namespace {

using namespace std::chrono;

/// How long a server may take to say that it does not accept our certificate.
constexpr milliseconds refusal{500};
/// Eight bytes, and the number that asks for TLS.
constexpr std::string_view request{"\0\0\0\x08\x04\xd2\x16\x2f", 8};

/// A socket on which everything has to be done by a deadline.
class Line {
 public:
  Line(const sockaddr_storage& server, socklen_t size, SteadyTime deadline)
      : socket_(::socket(server.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)),
        deadline_(deadline) {
    open_ = socket_ && (::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&server), size) == 0 ||
                        errno == EINPROGRESS);
  }
  bool write(std::string_view bytes) {
    while (open_ && !bytes.empty()) {
      const auto sent =
          ready(POLLOUT, deadline_) ? ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) : -1;
      if (sent > 0)
        bytes.remove_prefix(static_cast<std::size_t>(sent));
      else if (errno != EAGAIN && errno != EINTR)
        open_ = false;
    }
    return open_;
  }
  /// Empty at the end, or at the deadline.
  std::string_view read(std::size_t most, SteadyTime deadline) {
    if (!open_ || !ready(POLLIN, std::min(deadline, deadline_))) return {};
    const auto size = ::recv(socket_.get(), buffer_, std::min(most, sizeof buffer_), 0);
    return size > 0 ? std::string_view(buffer_, static_cast<std::size_t>(size)) : std::string_view{};
  }
  std::string_view read(std::size_t most = sizeof buffer_) { return read(most, deadline_); }

 private:
  bool ready(short events, SteadyTime deadline) {
    for (;;) {
      const auto left = ceil<milliseconds>(deadline - steady_clock::now()).count();
      pollfd one{.fd = socket_.get(), .events = events, .revents = 0};
      const int count = ::poll(&one, 1, static_cast<int>(std::max<std::int64_t>(left, 0)));
      if (count > 0) return true;
      if (count == 0) errno = ETIMEDOUT;
      if (count == 0 || errno != EINTR) return false;
    }
  }

  const Descriptor socket_;
  const SteadyTime deadline_;
  bool open_ = false;
  char buffer_[16384];
};

}  // namespace

std::optional<TlsLook> shake_hands_with_postgres(const sockaddr_storage& server, socklen_t size,
                                                 const std::string& host, const PostgresTrust& trust,
                                                 Duration patience, bool to_the_end) {
  const auto context = std::make_shared<TlsContext>(trust.config, trust.names);
  Line line(server, size, steady_clock::now() + patience);
  if (!line.write(request)) return std::nullopt;
  // No byte more: what follows belongs to the handshake.
  const auto answer = line.read(1);
  if (answer == "N")
    throw Error(Exit::config,
                "it has no TLS; turn it on there (ssl = on), or, where nobody is on the way, write "
                "sslmode=disable into the address (STEM_BROKER_URL)");
  if (answer != "S") return std::nullopt;
  // The name is said in any case, as libpq does: who is on the way may choose the certificate by it.
  TlsStream stream(context, host, trust.checks_host);
  try {
    while (!stream.shake_hands()) {
      if (!line.write(stream.take())) return std::nullopt;
      const auto bytes = line.read();
      if (bytes.empty()) return std::nullopt;
      stream.feed(bytes);
    }
    if (!line.write(stream.take())) return std::nullopt;
    if (to_the_end) {
      char nothing[64];
      for (const auto until = steady_clock::now() + refusal;;) {
        const auto bytes = line.read(sizeof nothing, until);
        if (bytes.empty()) break;
        stream.feed(bytes);
        (void)stream.read(nothing, sizeof nothing);
      }
    }
  } catch (const Error&) {
    line.write(stream.take());  // tells the server why
    throw;
  }
  return TlsLook{.version = stream.version(),
                 .cipher = stream.cipher(),
                 .server = stream.peer(),
                 .client = context->client(),
                 .authorities = context->authorities(),
                 .config = trust.config,
                 .names = trust.names,
                 .unchecked = {}};
}

}  // namespace stem
