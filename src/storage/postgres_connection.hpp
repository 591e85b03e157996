#pragma once

#include <sys/socket.h>

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "storage/postgres_address.hpp"
#include "storage/postgres_error.hpp"
#include "storage/postgres_values.hpp"
#include "storage/tls_look.hpp"

namespace stem {

/// A statement that each connection prepares once. Its address is its identity.
struct PostgresStatement {
  const char* name;
  std::string sql;  ///< names tables without their schema
};

/// A statement and what it is called with.
struct PostgresCall {
  const PostgresStatement& statement;
  PostgresParameters parameters{};
};

/// A connection that is logged in, with its session set up. Not thread-safe. After an exception ask
/// is_usable().
class PostgresConnection {
 public:
  /// Tries the servers of the address in turn. Throws PostgresError: 69 unreachable or starting, 77 not let
  /// in, 78 not a server that Stem can use.
  explicit PostgresConnection(const PostgresAddress& address);
  ~PostgresConnection();
  PostgresConnection(const PostgresConnection&) = delete;
  PostgresConnection& operator=(const PostgresConnection&) = delete;

  /// Any SQL, of several statements, in one transaction of its own; values as text. Only before the first
  /// run().
  std::vector<PostgresRows> execute(const std::string& sql);

  /// Runs `calls` in one transaction (or in the one that a call began), and then, in one of its own,
  /// `afterwards`, whose failure is nobody's business: all of it is sent at once, one round trip. Returns the
  /// rows of each of `calls`. Throws PostgresError; is_open() if the connection broke before the server told
  /// of the commit.
  std::vector<PostgresRows> run(const std::vector<PostgresCall>& calls,
                                const std::vector<PostgresCall>& afterwards = {});

  /// Whether it may be used again: neither broken, nor in the middle of a transaction.
  bool is_usable() const;
  /// Whether the server has closed the connection, or said something that nobody asked for.
  bool is_stale() const;
  /// For connections that LISTEN: takes what is there without waiting, and hands what was said with each
  /// notification to `heard`. False when the server has gone.
  bool drain(const std::function<void(std::string_view)>& heard);
  int fd() const;
  /// Version and cipher; both empty without TLS.
  std::pair<std::string, std::string> tls() const;
  /// shake_hands_with_postgres() with the server that this has reached.
  std::optional<TlsLook> shake_hands_again(const PostgresTrust& trust, bool to_the_end) const;
  /// Which process of the server this talks to, and since when: the two tell it from any other.
  const std::string& session() const { return session_; }
  /// The server, for messages.
  std::string shown() const { return "PostgreSQL at " + address_.shown(server_); }

 private:
  void connect(std::size_t server);
  void remember_server();
  /// What has to be said of a server that was reached, and did not take us. Throws.
  [[noreturn]] void refused(const std::string& state, const std::string& said) const;
  void tell_of_tls() const;
  void set_up();
  void send(const std::vector<PostgresCall>& calls, std::vector<const PostgresStatement*>& expected);
  PGresult* next(bool open);
  void wait(short events, SteadyTime deadline, const std::string& what, bool open);
  void sent(int ok);
  [[noreturn]] void lost(const std::string& why, bool open);

  const PostgresAddress address_;
  const PostgresLibrary& pq_;
  PGconn* connection_ = nullptr;
  std::size_t server_ = 0;
  sockaddr_storage reached_{};  // by the last attempt to connect
  socklen_t reached_size_ = 0;
  std::string session_;
  bool in_pipeline_ = false, broken_ = false;
  std::set<const PostgresStatement*> prepared_;
};

}  // namespace stem
