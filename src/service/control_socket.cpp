#include "service/control_socket.hpp"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <list>
#include <stem/error.hpp>
#include <stem/time.hpp>

#include "core/descriptor.hpp"
#include "core/name.hpp"
#include "service/unix_listener.hpp"

namespace stem {
namespace {

constexpr std::size_t longest_request = 64 * 1024;
constexpr std::size_t most_clients = 64;
constexpr std::uint64_t patience = 5'000'000;  // microseconds for one question and its answer
constexpr std::uint64_t grace = 100'000;       // microseconds in which a client is not sent away for another

struct UnrefSource {
  void operator()(sd_event_source* source) const { sd_event_source_disable_unref(source); }
};
using Source = std::unique_ptr<sd_event_source, UnrefSource>;

}  // namespace

struct ControlSocket::Server {
  /// One connection: reads a line, then writes its answer, then reads the next.
  struct Client {
    Server* server = nullptr;
    std::list<Client>::iterator self;
    Descriptor socket;
    std::string in, out;
    SteadyTime heard = std::chrono::steady_clock::now();
    Source io, timer;  // before the socket is closed, its source is gone: declared after it
  };

  Server(sd_event* loop, std::string path, Answer answer)
      : loop(loop),
        answer(std::move(answer)),
        // The node's lock is ours, so no living worker of this name can come between.
        listener(std::move(path), "control socket", Exit::try_again,
                 "another worker answers there; stop that one, or give this node another name") {}

  void listen() {
    sd_event_source* source = nullptr;
    if (const int r = sd_event_add_io(loop, &source, listener.fd(), EPOLLIN, on_connection, this); r < 0)
      throw Error(Exit::software,
                  "cannot listen at control socket " + listener.path() + ": " + std::strerror(-r));
    accepting.reset(source);
  }

  static int on_connection(sd_event_source*, int, std::uint32_t, void* self) {
    static_cast<Server*>(self)->accept_some();
    return 0;
  }

  void accept_some() {
    for (int i = 0; i < 32; ++i) {  // then the rest of the loop has its turn
      if (clients.size() >= most_clients && !make_room()) return;
      Descriptor socket(accept4(listener.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!socket) {
        if (errno == EMFILE || errno == ENFILE) make_room();
        return;
      }
      clients.emplace_back();
      auto& client = clients.back();
      client.server = this;
      client.self = std::prev(clients.end());
      client.socket = std::move(socket);
      sd_event_source* source = nullptr;
      if (sd_event_add_io(loop, &source, client.socket.get(), EPOLLIN, on_client, &client) >= 0)
        client.io.reset(source);
      source = nullptr;
      if (sd_event_add_time_relative(loop, &source, CLOCK_MONOTONIC, patience, 100'000, on_late, &client) >=
          0)
        client.timer.reset(source);
      if (!client.io || !client.timer) clients.pop_back();
    }
  }

  /// The client that has been silent for longest goes: a crowd of idle connections cannot shut out a
  /// question. If even that one has just come, or there is none to send away, accepting rests a moment, lest
  /// the loop spins. False then.
  bool make_room() {
    if (!clients.empty() &&
        std::chrono::steady_clock::now() - clients.front().heard > std::chrono::microseconds(grace)) {
      clients.pop_front();
      return true;
    }
    sd_event_source_set_enabled(accepting.get(), SD_EVENT_OFF);
    sd_event_source* source = nullptr;
    if (sd_event_add_time_relative(loop, &source, CLOCK_MONOTONIC, grace, 0, on_rested, this) >= 0)
      resting.reset(source);
    return false;
  }
  static int on_rested(sd_event_source*, std::uint64_t, void* self) {
    sd_event_source_set_enabled(static_cast<Server*>(self)->accepting.get(), SD_EVENT_ON);
    return 0;
  }

  static int on_late(sd_event_source*, std::uint64_t, void* data) {
    auto& client = *static_cast<Client*>(data);
    client.server->clients.erase(client.self);
    return 0;
  }

  static int on_client(sd_event_source*, int, std::uint32_t events, void* data) {
    auto& client = *static_cast<Client*>(data);
    if (!client.server->serve(client, events)) client.server->clients.erase(client.self);
    return 0;
  }

  /// False: the connection is to be closed.
  bool serve(Client& client, std::uint32_t events) {
    if (client.out.empty() && (events & (EPOLLIN | EPOLLHUP | EPOLLERR))) {
      char block[4096];
      const auto count = recv(client.socket.get(), block, sizeof block, 0);
      if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) return false;
      if (count > 0) client.in.append(block, static_cast<std::size_t>(count));
    }
    if (client.out.empty()) {
      const auto end = client.in.find('\n');
      if (end == client.in.npos && client.in.size() <= longest_request) return true;
      if (end == client.in.npos || end > longest_request) {
        client.out = refused("a line of more than 64 KiB");
        send(client.socket.get(), client.out.data(), client.out.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        return false;
      }
      client.out = respond(std::string_view(client.in).substr(0, end));
      client.in.erase(0, end + 1);
    }
    const auto count =
        send(client.socket.get(), client.out.data(), client.out.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count < 0 && errno != EAGAIN && errno != EINTR) return false;
    client.out.erase(0, static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
    // A question that is waiting already is answered at the loop's next turn: watched for writing, it wakes
    // us.
    const bool more = !client.out.empty() || client.in.find('\n') != client.in.npos;
    sd_event_source_set_io_events(client.io.get(), more ? EPOLLOUT : EPOLLIN);
    if (client.out.empty()) {
      sd_event_source_set_time_relative(client.timer.get(), patience);
      client.heard = std::chrono::steady_clock::now();
      clients.splice(clients.end(), clients, client.self);
    }
    return true;
  }

  static std::string refused(const std::string& why) {
    return Json{{"v", 1}, {"refused", why}}.dump() + "\n";
  }

  std::string respond(std::string_view line) const {
    const auto request = Json::parse(line, nullptr, false);
    if (!request.is_object()) return refused("not a JSON object; send {\"v\":1,\"request\":\"health\"}");
    if (request.value("v", Json()) != 1) return refused("unknown version; this worker speaks version 1");
    const auto word = request.find("request");
    if (word == request.end() || !word->is_string()) return refused("no `request`");
    try {
      auto reply = answer(word->get<std::string>(), request);
      reply["v"] = 1;
      return reply.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
    } catch (const Error& error) {
      return refused(error.what());
    }
  }

  sd_event* loop;
  const Answer answer;
  const UnixListener listener;
  Source accepting, resting;
  std::list<Client> clients;  // the one that was heard of last is at the end
};

ControlSocket::ControlSocket(sd_event* loop, std::string path, Answer answer)
    : server_(std::make_unique<Server>(loop, std::move(path), std::move(answer))) {
  server_->listen();
}

ControlSocket::~ControlSocket() = default;

const std::string& ControlSocket::path() const {
  return server_->listener.path();
}

}  // namespace stem
