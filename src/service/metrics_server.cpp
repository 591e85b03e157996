#include "service/metrics_server.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "service/http_request.hpp"

namespace stem {
namespace {

using std::chrono::milliseconds;

constexpr Duration grace = milliseconds{100};     // in which a client is not sent away for another
constexpr Duration farewell = milliseconds{500};  // for what a client still sends after its answer
constexpr const char* page_type = "text/plain; version=0.0.4; charset=utf-8";

}  // namespace

struct MetricsServer::Client {
  enum class Stage { asking, reading, leaving };

  Descriptor socket;
  Stage stage = Stage::asking;
  SteadyTime come, deadline;
  std::string in, out;
  std::size_t sent = 0;

  Client(Descriptor fd, SteadyTime now) : socket(std::move(fd)), come(now), deadline(now + patience) {}
};

MetricsServer::MetricsServer(const ListenAddress& address, Page page)
    : address_(address), page_(std::move(page)) {
  if (address_.is_unix())
    unix_.emplace(
        address_.path, "metrics socket", Exit::unavailable,
        "another process answers there; give each node a socket of its own: unix:/run/stem/%n.metrics");
  else
    listen_tcp();
}

MetricsServer::MetricsServer(std::vector<Descriptor> sockets, Page page)
    : page_(std::move(page)), sockets_(std::move(sockets)) {}

MetricsServer::~MetricsServer() {
  stop();
  if (thread_.joinable()) thread_.join();
}

void MetricsServer::listen_tcp() {
  const auto refuse = [&](int error) {
    const std::string what = "cannot serve metrics at " + address_.text() + ": " + std::strerror(error);
    if (error == EADDRINUSE)
      return Error(Exit::unavailable,
                   what + "; give each node a port of its own, or a socket: unix:/run/stem/%n.metrics");
    if (error == EADDRNOTAVAIL || error == EAFNOSUPPORT)
      return Error(Exit::unavailable, what + "; `ip address` lists the addresses of this machine");
    if (error == EACCES || error == EPERM)
      return Error(Exit::no_permission, what + "; ports below 1024 are for root, use one above");
    return Error(Exit::software, what);
  };
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  v4.sin_family = AF_INET;
  v6.sin6_family = AF_INET6;
  v4.sin_port = v6.sin6_port = htons(address_.port);
  inet_pton(AF_INET, address_.host.c_str(), &v4.sin_addr);
  inet_pton(AF_INET6, address_.host.c_str(), &v6.sin6_addr);
  auto* const place = address_.is_v6 ? reinterpret_cast<sockaddr*>(&v6) : reinterpret_cast<sockaddr*>(&v4);
  socklen_t size = address_.is_v6 ? sizeof v6 : sizeof v4;

  Descriptor socket(::socket(place->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) throw refuse(errno);
  const int yes = 1;
  setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &yes,
             sizeof yes);  // those who left are no reason to wait
  if (address_.is_v6) setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes);
  if (bind(socket.get(), place, size) != 0 || listen(socket.get(), 128) != 0) throw refuse(errno);
  if (getsockname(socket.get(), place, &size) == 0)
    address_.port = ntohs(address_.is_v6 ? v6.sin6_port : v4.sin_port);
  sockets_.push_back(std::move(socket));
}

void MetricsServer::start() {
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "stem-metrics");
    serve({});
  });
}

void MetricsServer::stop() {
  stopped_ = true;
  stop_.set();
}

void MetricsServer::serve(std::optional<Duration> idle) {
  auto left_alone = std::chrono::steady_clock::now();
  while (!stopped_) {
    const auto now = std::chrono::steady_clock::now();
    if (!clients_.empty()) left_alone = now;
    if (idle && now - left_alone >= *idle) return;

    std::vector<pollfd> polls{{stop_.fd(), POLLIN, 0}};
    const bool accepts = now >= resting_until_;
    const auto listens = [&](int fd) { polls.push_back({fd, static_cast<short>(accepts ? POLLIN : 0), 0}); };
    if (unix_) listens(unix_->fd());
    for (const auto& socket : sockets_) listens(socket.get());
    const auto first = polls.size();
    std::optional<SteadyTime> until;
    const auto at_most = [&](SteadyTime time) { until = until ? std::min(*until, time) : time; };
    for (const auto& client : clients_) {
      polls.push_back({client->socket.get(),
                       static_cast<short>(client->stage == Client::Stage::reading ? POLLOUT : POLLIN), 0});
      at_most(client->deadline);
    }
    if (idle) at_most(left_alone + *idle);
    if (!accepts) at_most(resting_until_);
    const auto wait =
        until ? std::clamp<std::int64_t>(std::chrono::ceil<milliseconds>(*until - now).count(), 0, 60'000)
              : -1;
    if (poll(polls.data(), polls.size(), static_cast<int>(wait)) < 0 && errno != EINTR) {
      spdlog::error("metrics are not served any more: {}", std::strerror(errno));
      return;
    }

    const auto then = std::chrono::steady_clock::now();
    for (std::size_t i = first; i < polls.size(); ++i) {
      auto& client = clients_[i - first];
      const bool stays =
          (polls[i].revents == 0 || attend(*client, polls[i].revents)) && then < client->deadline;
      if (!stays) client.reset();
    }
    std::erase(clients_, nullptr);
    for (std::size_t i = 1; i < first; ++i)
      if (polls[i].revents & POLLIN) accept_from(polls[i].fd);
  }
}

void MetricsServer::accept_from(int listener) {
  for (int i = 0; i < 16; ++i) {  // then those who are here have their turn
    if (clients_.size() >= most_clients && !make_room()) return;
    Descriptor socket(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) {
      if (errno == EMFILE || errno == ENFILE) make_room();
      return;
    }
    clients_.push_back(std::make_unique<Client>(std::move(socket), std::chrono::steady_clock::now()));
  }
}

/// The client that has been here for longest goes: a crowd that asks nothing cannot shut out a scrape. If
/// even that one has just come, or there is none to send away, accepting rests a moment, lest this thread
/// spins. False then.
bool MetricsServer::make_room() {
  const auto now = std::chrono::steady_clock::now();
  if (!clients_.empty() && now - clients_.front()->come > grace) {
    clients_.erase(clients_.begin());
    return true;
  }
  resting_until_ = now + grace;
  return false;
}

/// False: the connection is to be closed.
bool MetricsServer::attend(Client& client, short events) {
  using Stage = Client::Stage;
  if (client.stage != Stage::reading) {
    char block[4096];
    const auto count = recv(client.socket.get(), block, sizeof block, 0);
    if (count == 0) return false;
    if (count < 0) return errno == EAGAIN || errno == EINTR;
    if (client.stage == Stage::leaving) return true;
    client.in.append(block, static_cast<std::size_t>(count));
    answer(client);
    if (client.stage == Stage::asking) return true;
  } else if (events & (POLLERR | POLLHUP)) {
    return false;
  }
  while (client.sent < client.out.size()) {
    const auto count = send(client.socket.get(), client.out.data() + client.sent,
                            client.out.size() - client.sent, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno == EAGAIN;
    client.sent += static_cast<std::size_t>(count);
  }
  // Closed at once, with something of the client's unread, the connection would be reset, and its answer
  // perhaps lost.
  shutdown(client.socket.get(), SHUT_WR);
  client.stage = Stage::leaving;
  client.deadline = std::chrono::steady_clock::now() + farewell;
  return true;
}

/// What the client has asked, if that is known by now.
void MetricsServer::answer(Client& client) {
  const auto end = HttpRequest::end(client.in);
  HttpAnswer answer;
  bool head_only = false;
  if (end.value_or(client.in.size()) > HttpRequest::longest) {
    answer = {431, "the head of a request is at most 8 KiB\n"};
  } else if (!end) {
    return;
  } else if (const auto request = HttpRequest::from(client.in); !request) {
    answer = {400, "this is no HTTP/1.1 request\n"};
  } else if (request->path != "/metrics") {
    answer = {404, "there is nothing but /metrics\n"};
  } else if (request->method != "GET" && request->method != "HEAD") {
    answer = {405, "metrics can only be read\n"};
  } else {
    head_only = request->method == "HEAD";
    try {
      answer = {200, page_(), page_type};
    } catch (const Error& error) {
      answer = {503, std::string(error.what()) + "\n"};
    } catch (const std::exception& error) {
      answer = {500, std::string("internal error: ") + error.what() + "\n"};
    }
  }
  client.in.clear();
  client.out = answer.wire(head_only);
  client.stage = Client::Stage::reading;
  client.deadline = std::chrono::steady_clock::now() + patience;
}

}  // namespace stem
