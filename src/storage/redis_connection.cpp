#include "storage/redis_connection.hpp"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include "storage/redis_probe.hpp"

namespace stem {
namespace {

// A handshake that has not brought a byte in this time may be one with a server that waits for the end of a
// line.
constexpr std::chrono::seconds silence{1};
// Of TLS: a record has 16 KiB at the most.
constexpr std::size_t piece = 65536;

// A server that vanished without a word is noticed within half a minute by those who only listen.
void keep_alive(int socket) {
  const auto set = [&](int level, int name, int value) {
    (void)::setsockopt(socket, level, name, &value, sizeof value);
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 15);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
}

std::string one_line(std::string_view text) {
  std::string line(text.substr(0, 200));
  for (auto& c : line)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  return line;
}

}  // namespace

RedisCommand& RedisCommand::add(std::string_view word) {
  body_.append("$").append(std::to_string(word.size())).append("\r\n").append(word).append("\r\n");
  ++count_;
  return *this;
}

RedisCommand& RedisCommand::add(std::int64_t number) {
  return add(std::string_view(std::to_string(number)));
}

RedisCommand& RedisCommand::add(const RedisCommand& words) {
  body_ += words.body_;
  count_ += words.count_;
  return *this;
}

void RedisCommand::append_to(std::string& out) const {
  out.append("*").append(std::to_string(count_)).append("\r\n").append(body_);
}

Error redis_error(const std::string& at, std::string_view reply) {
  // Before version 7 an error inside a script is told in the middle of another one.
  const auto is = [&](std::string_view code) {
    if (reply.starts_with(code) && (reply.size() == code.size() || reply[code.size()] == ' ')) return true;
    return reply.find("-" + std::string(code) + " ") != std::string_view::npos;
  };
  const auto error = [&](Exit code, const std::string& what) { return Error(code, at + " " + what); };
  if (is("LOADING"))
    return error(Exit::unavailable, "is still loading its data; it answers when that is done");
  if (is("MOVED") || is("ASK") || is("CROSSSLOT") || is("CLUSTERDOWN"))
    return error(Exit::config,
                 "is part of a Redis Cluster, which Stem does not support; name a single server, or a "
                 "primary with replicas");
  if (is("OOM"))
    return error(
        Exit::cannot_create,
        "is out of memory (maxmemory); raise maxmemory, or drain queues and shorten STEM_RESULT_TTL");
  if (is("NOAUTH"))
    return error(Exit::no_permission,
                 "asks for a password; write it into the address: redis://:PASSWORD@HOST, '%40' for '@'");
  if (is("WRONGPASS") || reply.find("invalid password") != std::string_view::npos ||
      reply.find("without any password") != std::string_view::npos)
    return error(Exit::no_permission, "refuses the user or the password of the address");
  if (is("DENIED"))
    return error(
        Exit::no_permission,
        "lets only its own machine in (protected mode); give it a password, or set `protected-mode no`");
  if (is("NOPERM"))
    return error(Exit::no_permission, "does not let this user do that (" + one_line(reply) +
                                          "); docs/redis.md lists what Stem needs");
  if (is("READONLY"))
    return error(Exit::unavailable, "is a read-only replica; name its primary, or wait until it is made one");
  if (is("MASTERDOWN")) return error(Exit::unavailable, "is a replica that has lost its primary");
  if (is("MISCONF"))
    return error(Exit::cannot_create,
                 "cannot save its data to disk and refuses writes; see its log and its disk");
  if (is("BUSY")) return error(Exit::try_again, "is busy with a script of somebody else's");
  if (is("NOREPLICAS")) return error(Exit::try_again, "refuses writes while it has too few replicas");
  if (reply.find("max number of clients") != std::string_view::npos)
    return error(Exit::unavailable, "has as many clients as it takes; raise its maxclients");
  if (reply.find("DB index") != std::string_view::npos)
    return error(Exit::config, "has no database of that number");
  if (reply.find("unknown command") != std::string_view::npos ||
      reply.find("Unknown Redis command") != std::string_view::npos)
    return error(Exit::config,
                 "lacks a command that Stem needs (" + one_line(reply) + "); Stem needs Redis 6.2 or newer");
  if (is("WRONGTYPE"))
    return error(Exit::data,
                 "holds something else under one of Stem's keys; choose another namespace: ?namespace=NAME");
  return error(Exit::software, "refused a command: " + one_line(reply));
}

RedisConnection::RedisConnection(const RedisAddress& address) : address_(address) {
  connect();
  greet();
}

void RedisConnection::lost(const std::string& why) const {
  throw Error(Exit::unavailable, "cannot reach Redis at " + address_.shown() + ": " + why);
}

bool RedisConnection::ready(short events, SteadyTime deadline) const {
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    pollfd one{.fd = socket_.get(), .events = events, .revents = 0};
    const int count = ::poll(&one, 1, static_cast<int>(std::clamp<std::int64_t>(left, 0, INT_MAX)));
    if (count < 0 && errno != EINTR) lost(std::strerror(errno));
    if (count >= 0) return count > 0;
  }
}

void RedisConnection::wait(short events, SteadyTime deadline, const char* what) const {
  if (!ready(events, deadline)) lost(std::string(what) + " within " + format_duration(address_.timeout));
}

void RedisConnection::connect() {
  const auto deadline = std::chrono::steady_clock::now() + address_.timeout;
  int error = 0;
  const auto attempt = [&](int family, const sockaddr* to, socklen_t size) {
    socket_.reset(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket_)
      throw Error(Exit::try_again, std::string("cannot open a socket for Redis: ") + std::strerror(errno));
    error = ::connect(socket_.get(), to, size) == 0 ? 0 : errno;
    if (error == EINPROGRESS) {
      wait(POLLOUT, deadline, "no connection");
      socklen_t length = sizeof error;
      ::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &length);
    }
    return error == 0;
  };
  if (!address_.path.empty()) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    if (address_.path.size() >= sizeof name.sun_path)
      throw Error(Exit::config, address_.shown() + ": the path of a Unix socket has at most 107 bytes");
    std::memcpy(name.sun_path, address_.path.data(), address_.path.size());
    if (attempt(AF_UNIX, reinterpret_cast<const sockaddr*>(&name), sizeof name)) return;
    if (error == EACCES)
      throw Error(Exit::no_permission,
                  "may not connect to Redis at " + address_.shown() + "; see unixsocketperm in redis.conf");
    lost(error == EAGAIN ? "too many connections wait for it" : std::strerror(error));
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int failed = ::getaddrinfo(address_.host.c_str(), address_.port.c_str(), &hints, &found);
      failed != 0)
    lost(::gai_strerror(failed));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> all(found, &::freeaddrinfo);
  for (const auto* one = all.get(); one != nullptr; one = one->ai_next) {
    if (!attempt(one->ai_family, one->ai_addr, one->ai_addrlen)) continue;
    server_size_ = one->ai_addrlen;
    std::memcpy(&server_, one->ai_addr, server_size_);
    keep_alive(socket_.get());
    if (address_.tls) shake_hands(deadline);
    return;
  }
  lost(std::strerror(error));
}

template <class Call>
auto RedisConnection::over_tls(Call call) {
  try {
    return call(*tls_);
  } catch (const Error& error) {
    // Tells the server why, too, if it still listens.
    const auto alert = tls_->take();
    (void)::send(socket_.get(), alert.data(), alert.size(), MSG_NOSIGNAL);
    throw Error(error.code(), "cannot reach Redis at " + address_.shown() + ": " + error.what());
  }
}

void RedisConnection::shake_hands(SteadyTime deadline) {
  tls_ = std::make_unique<TlsStream>(address_.tls, address_.host);
  auto suspicion = std::min(
      deadline, std::chrono::steady_clock::now() + std::min<Duration>(silence, address_.timeout / 2));
  char buffer[16384];
  while (!over_tls([](TlsStream& tls) { return tls.shake_hands(); })) {
    transmit(tls_->take(), deadline);
    const auto size = ::recv(socket_.get(), buffer, sizeof buffer, 0);
    if (size > 0) {
      tls_->feed({buffer, static_cast<std::size_t>(size)});
      suspicion = deadline;
    } else if (size == 0) {
      lost("it closed the connection in the middle of the TLS handshake");
    } else if (errno == EAGAIN) {
      if (ready(POLLIN, suspicion)) continue;
      if (suspicion < deadline && speaks_redis(server_, server_size_))
        over_tls([](TlsStream&) { throw tls_not_spoken(); });
      suspicion = deadline;
      wait(POLLIN, deadline, "no answer to the TLS handshake");
    } else if (errno != EINTR) {
      lost(std::strerror(errno));
    }
  }
  transmit(tls_->take(), deadline);
  decrypt();
}

void RedisConnection::greet() {
  std::string hello;
  int replies = 1;
  if (!address_.password.empty()) {
    RedisCommand login{"AUTH"};
    if (!address_.user.empty()) login.add(address_.user);
    login.add(address_.password).append_to(hello);
    ++replies;
  }
  // Also asks whether it is loading, and whether a password is missing.
  RedisCommand{"SELECT", std::to_string(address_.database)}.append_to(hello);
  send(hello);
  std::optional<Error> refused;
  for (; replies > 0; --replies)
    if (const auto reply = first_reply(); reply->is_error() && !refused)
      refused = redis_error("Redis at " + address_.shown(), reply->text);
  if (refused) throw Error(*refused);
}

RedisReply RedisConnection::first_reply() {
  try {
    return receive();
  } catch (const Error&) {
    // A server that expects TLS hangs up without a word.
    pollfd one{.fd = socket_.get(), .events = POLLRDHUP, .revents = 0};
    if (tls_ || server_size_ == 0 || ::poll(&one, 1, 100) <= 0 || !speaks_tls(server_, server_size_)) throw;
    throw Error(Exit::config,
                "cannot reach Redis at " + address_.shown() +
                    ": it speaks TLS at that port; write rediss:// into the address (STEM_BROKER_URL)");
  }
}

void RedisConnection::send(std::string_view bytes) {
  const auto deadline = std::chrono::steady_clock::now() + address_.timeout;
  if (!tls_) return transmit(bytes, deadline);
  for (; !bytes.empty(); bytes.remove_prefix(std::min(bytes.size(), piece))) {
    over_tls([&](TlsStream& tls) { tls.write(bytes.substr(0, piece)); });
    transmit(tls_->take(), deadline);
  }
}

void RedisConnection::transmit(std::string_view bytes, SteadyTime deadline) {
  while (!bytes.empty()) {
    const auto sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN) {
      wait(POLLOUT, deadline, "it takes nothing");
    } else if (errno != EINTR) {
      const int why = errno;
      // A server that does not take our certificate says so, and hangs up: what it said is there still.
      if (tls_) (void)fill();
      lost(std::strerror(why));
    }
  }
}

std::optional<std::size_t> RedisConnection::fill() {
  char buffer[piece];
  for (;;) {
    const auto size = ::recv(socket_.get(), buffer, sizeof buffer, 0);
    if (size > 0) {
      const auto count = static_cast<std::size_t>(size);
      if (tls_) {
        tls_->feed({buffer, count});
        return decrypt();
      }
      reader_.feed(buffer, count);
      return count;
    }
    if (size == 0) lost("it closed the connection");
    if (errno == EAGAIN) return std::nullopt;
    if (errno != EINTR) lost(std::strerror(errno));
  }
}

std::size_t RedisConnection::decrypt() {
  char plain[16384];
  std::size_t all = 0;
  while (const auto size = over_tls([&](TlsStream& tls) { return tls.read(plain, sizeof plain); })) {
    reader_.feed(plain, size);
    all += size;
  }
  // What it said before is heard first.
  if (tls_->ended() && all == 0) lost("it closed the connection");
  // New keys are answered with new keys.
  if (const auto answer = tls_->take(); !answer.empty())
    transmit(answer, std::chrono::steady_clock::now() + address_.timeout);
  return all;
}

RedisReply RedisConnection::receive() {
  const auto deadline = std::chrono::steady_clock::now() + address_.timeout;
  for (;;) {
    if (auto reply = reader_.next()) return std::move(*reply);
    if (!fill()) wait(POLLIN, deadline, "no answer");
  }
}

bool RedisConnection::is_stale() {
  char byte = 0;
  if (::recv(socket_.get(), &byte, 1, MSG_PEEK) < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (!tls_) return true;
  try {
    // New keys and tickets are TLS' own affair.
    return fill().value_or(0) > 0;
  } catch (const Error&) {
    return true;
  }
}

bool RedisConnection::drain(const std::function<void(const RedisValue&)>& take) {
  try {
    while (fill())
      while (const auto message = reader_.next()) take(**message);
    return true;
  } catch (const Error&) {
    return false;  // it has gone, or no longer speaks Redis' protocol
  }
}

}  // namespace stem
