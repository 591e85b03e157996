#pragma once

#include <sys/socket.h>

#include <functional>
#include <optional>
#include <stem/error.hpp>
#include <stem/time.hpp>
#include <string>
#include <string_view>

#include "core/descriptor.hpp"
#include "storage/redis_address.hpp"
#include "storage/redis_reply.hpp"
#include "storage/tls_stream.hpp"

namespace stem {

/// One command in Redis' protocol.
class RedisCommand {
 public:
  RedisCommand() = default;
  RedisCommand(std::initializer_list<std::string_view> words) {
    for (const auto word : words) add(word);
  }
  RedisCommand& add(std::string_view word);
  RedisCommand& add(std::int64_t number);
  RedisCommand& add(const RedisCommand& words);
  /// Appends the command as it is sent.
  void append_to(std::string& out) const;

 private:
  std::string body_;
  std::size_t count_ = 0;
};

/// What an error reply of Redis means: which exit status, and what to do. `at` is the address as shown.
Error redis_error(const std::string& at, std::string_view reply);

/// A connection that is logged in and has its database selected, over TLS where the address has it. Not
/// thread-safe. After an exception it is good for nothing but destruction.
class RedisConnection {
 public:
  /// Throws Error: 69 unreachable or still loading, 77 wrong password, 78 not a server that Stem can use;
  /// and what tls_fault() makes of TLS.
  explicit RedisConnection(const RedisAddress& address);

  /// Sends commands, as many as `bytes` holds. Throws Error (exit 69).
  void send(std::string_view bytes);
  /// The next reply, error replies included. Throws Error (exit 69) when it does not come within the
  /// address's timeout.
  RedisReply receive();
  /// Whether the server has closed the connection, or said something that nobody asked for.
  bool is_stale();

  /// For connections that are listened to: reads what is there without waiting, and hands over each message.
  /// False when the server has gone.
  bool drain(const std::function<void(const RedisValue&)>& take);
  int fd() const { return socket_.get(); }
  /// Null without TLS.
  const TlsStream* tls() const { return tls_.get(); }

 private:
  void connect();
  void shake_hands(SteadyTime deadline);
  void greet();
  RedisReply first_reply();
  void transmit(std::string_view bytes, SteadyTime deadline);
  /// Hands what has arrived to the reader: how many bytes of the protocol, nothing if nothing has arrived.
  std::optional<std::size_t> fill();
  std::size_t decrypt();
  template <class Call>
  auto over_tls(Call call);
  bool ready(short events, SteadyTime deadline) const;
  void wait(short events, SteadyTime deadline, const char* what) const;
  [[noreturn]] void lost(const std::string& why) const;

  const RedisAddress address_;
  Descriptor socket_;
  sockaddr_storage server_{};
  socklen_t server_size_ = 0;
  std::unique_ptr<TlsStream> tls_;
  RedisReader reader_;
};

}  // namespace stem
