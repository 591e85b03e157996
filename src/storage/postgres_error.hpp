#pragma once

#include <stem/error.hpp>
#include <string>
#include <string_view>

namespace stem {

/// What PostgreSQL refused, or that it could not be reached.
class PostgresError : public Error {
 public:
  PostgresError(Exit code, const std::string& message, std::string state, bool open = false)
      : Error(code, message), state_(std::move(state)), open_(open) {}

  /// SQLSTATE, five characters; empty if it was not the server that spoke.
  const std::string& state() const { return state_; }
  /// The connection broke while a commit was under way: it may have been done or not.
  bool is_open() const { return open_; }
  /// The same again may well succeed at once: what collided is over, or the server has forgotten a statement.
  bool is_collision() const { return state_ == "40001" || state_ == "40P01" || state_ == "26000"; }

 private:
  std::string state_;
  bool open_;
};

/// What an error of the server means: which exit status, and what to do. `at` is the address as shown, `said`
/// the server's words.
PostgresError postgres_error(const std::string& at, std::string_view state, std::string_view said);

/// The SQLSTATE in what libpq says of a connection that failed, with verbose errors; empty if there is none.
std::string state_in(std::string_view message);
/// The same message without what only developers of PostgreSQL want to know, in one line.
std::string plain_message(std::string_view message);

}  // namespace stem
