#include "service/control_client.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stem/error.hpp>

#include "core/descriptor.hpp"
#include "service/control_address.hpp"

namespace stem {
namespace {

constexpr std::size_t longest_answer = 8 * 1024 * 1024;

}  // namespace

Json ask_worker(const std::string& socket_path, const std::string& word, Duration timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  const auto silent = [&] {
    return Error(Exit::unhealthy, "who listens at " + socket_path + " did not answer within " +
                                      format_duration(timeout) +
                                      ": it is stuck or stopped; see its log, or restart it");
  };
  const auto refuse = [&](int error) {
    if (error == EACCES || error == EPERM)
      return Error(Exit::no_permission, "cannot ask the worker at " + socket_path + ": " +
                                            std::strerror(error) +
                                            "; run this as root, as the worker's user or in its group");
    return Error(Exit::unavailable, "no worker answers at " + socket_path + ": " + std::strerror(error) +
                                        "; is the node started, and is this the runtime directory?");
  };
  const auto wait_for = [&](int fd, short events) {
    for (;;) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
      if (left.count() <= 0) throw silent();
      pollfd poll{.fd = fd, .events = events, .revents = 0};
      const int ready = ::poll(&poll, 1, static_cast<int>(left.count()));
      if (ready > 0) return;
      if (ready < 0 && errno != EINTR) throw refuse(errno);
    }
  };

  const Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) throw refuse(errno);
  {
    const ControlAddress address(socket_path);
    // EAGAIN: the queue of a worker that does not accept is full. There is no event to wait for but time.
    while (connect(socket.get(), address.get(), address.size()) != 0) {
      if (errno != EAGAIN && errno != EINTR) throw refuse(errno);
      if (std::chrono::steady_clock::now() >= deadline) throw silent();
      ::poll(nullptr, 0, 10);
    }
  }
  std::string text = Json{{"v", 1}, {"request", word}}.dump() + "\n";
  for (std::string_view rest = text; !rest.empty();) {
    const auto count = send(socket.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
    if (count >= 0)
      rest.remove_prefix(static_cast<std::size_t>(count));
    else if (errno == EAGAIN)
      wait_for(socket.get(), POLLOUT);
    else if (errno != EINTR)
      throw refuse(errno);
  }
  text.clear();
  while (text.find('\n') == text.npos) {
    char block[4096];
    const auto count = recv(socket.get(), block, sizeof block, 0);
    if (count > 0)
      text.append(block, static_cast<std::size_t>(count));
    else if (count == 0)
      throw refuse(ECONNRESET);
    else if (errno == EAGAIN)
      wait_for(socket.get(), POLLIN);
    else if (errno != EINTR)
      throw refuse(errno);
    if (text.size() > longest_answer) break;
  }
  auto answer = Json::parse(text.substr(0, text.find('\n')), nullptr, false);
  if (!answer.is_object() || !answer.contains("v"))
    throw Error(Exit::data,
                "what answers at " + socket_path + " is no Stem worker; name another runtime directory");
  if (answer.contains("refused"))
    throw Error(Exit::usage, "the worker at " + socket_path + " refused: " +
                                 (answer["refused"].is_string() ? answer["refused"].get<std::string>()
                                                                : "no reason given"));
  return answer;
}

}  // namespace stem
