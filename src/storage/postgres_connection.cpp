#include "storage/postgres_connection.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include "core/name.hpp"
#include "storage/postgres_handshake.hpp"
#include "storage/tls_context.hpp"
#include "storage/tls_fault.hpp"

namespace stem {
namespace {

constexpr int oldest_server = 140000;
constexpr std::chrono::seconds longest_look{2};
constexpr auto in_binary = 1;

std::string quoted(const std::string& name) {
  return '"' + name + '"';
}  // a schema's name has no quotes of its own

bool says(std::string_view text, std::initializer_list<std::string_view> any) {
  return std::any_of(any.begin(), any.end(), [&](auto one) { return text.find(one) != text.npos; });
}

}  // namespace

PostgresConnection::PostgresConnection(const PostgresAddress& address)
    : address_(address), pq_(postgres_library()) {
  for (std::size_t server = 0;; ++server) {
    try {
      connect(server);
      set_up();
      return;
    } catch (const PostgresError& error) {
      pq_.PQfinish(connection_);
      connection_ = nullptr;
      // Who is known there, and not let in, need not ask elsewhere.
      if (server + 1 == address_.servers.size() || error.state().starts_with("28") ||
          error.state() == "3D000")
        throw;
    } catch (...) {
      pq_.PQfinish(connection_);
      throw;
    }
  }
}

PostgresConnection::~PostgresConnection() {
  if (connection_ != nullptr) pq_.PQfinish(connection_);
}

void PostgresConnection::lost(const std::string& why, bool open) {
  broken_ = true;
  throw PostgresError(Exit::unavailable, "cannot reach " + shown() + ": " + why, "", open);
}

int PostgresConnection::fd() const {
  return pq_.PQsocket(connection_);
}

void PostgresConnection::wait(short events, SteadyTime deadline, const std::string& what, bool open) {
  for (;;) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    pollfd one{.fd = fd(), .events = events, .revents = 0};
    const int ready = ::poll(&one, 1, static_cast<int>(std::clamp<std::int64_t>(left, 0, INT_MAX)));
    if (ready > 0) return;
    if (ready < 0 && errno != EINTR) lost(std::strerror(errno), open);
    if (ready == 0) lost(what, open);
  }
}

void PostgresConnection::connect(std::size_t server) {
  server_ = server;
  reached_size_ = 0;
  std::vector<const char*> names, values;
  for (const auto& [name, value] : address_.servers[server]) {
    names.push_back(name.c_str());
    values.push_back(value.c_str());
  }
  names.push_back(nullptr);
  values.push_back(nullptr);
  connection_ = pq_.PQconnectStartParams(names.data(), values.data(), 0);
  if (connection_ == nullptr) throw std::bad_alloc();
  pq_.PQsetErrorVerbosity(connection_, PQERRORS_VERBOSE);  // else a refusal has no SQLSTATE
  pq_.PQsetNoticeProcessor(
      connection_, [](void*, const char*) {}, nullptr);  // it would write to standard error
  const auto deadline = std::chrono::steady_clock::now() + address_.connect_timeout;
  auto state = pq_.PQstatus(connection_) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
  while (state == PGRES_POLLING_READING || state == PGRES_POLLING_WRITING) {
    wait(state == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline,
         "no connection within " + format_duration(address_.connect_timeout), false);
    remember_server();
    state = pq_.PQconnectPoll(connection_);
  }
  if (state == PGRES_POLLING_OK) return remember_server();

  const std::string said = pq_.PQerrorMessage(connection_);
  if (const auto code = state_in(said); !code.empty()) refused(code, said);
  tell_of_tls();
  const auto words = plain_message(said);
  if (says(words, {"no password supplied"}))
    throw PostgresError(
        Exit::no_permission,
        shown() +
            " asks for a password; write it into the address: postgresql://USER:PASSWORD@HOST, "
            "with %40 for '@'; or into a .pgpass file",
        "");
  // What the second look did not find, or was not let see.
  if (says(words, {"certificate", "does not support SSL", "private key", "protocol version",
                   "invalid sslmode", "invalid port", "invalid integer"}))
    throw PostgresError(Exit::config, "cannot use " + shown() + ": " + words, "");
  if (says(words, {"Permission denied"}))
    throw PostgresError(Exit::no_permission, "may not connect to " + shown() + ": " + words, "");
  lost(words, false);
}

void PostgresConnection::remember_server() {
  sockaddr_storage name{};
  socklen_t size = sizeof name;
  // It fails while there is no connection, and after the server has hung up.
  if (::getpeername(fd(), reinterpret_cast<sockaddr*>(&name), &size) != 0 || name.ss_family == AF_UNIX)
    return;
  reached_ = name;
  reached_size_ = size;
}

void PostgresConnection::tell_of_tls() const {
  if (!address_.trust.asked) return;
  try {
    address_.trust.require_files();
    if (reached_size_ > 0) shake_hands_again(address_.trust, true);
  } catch (const Error& error) {
    throw PostgresError(error.code(), "cannot reach " + shown() + ": " + error.what(), "");
  }
}

void PostgresConnection::refused(const std::string& state, const std::string& said) const {
  const auto& trust = address_.trust;
  const auto& ours = trust.config.client_cert;
  auto error = postgres_error(shown(), state, said);
  if (!state.starts_with("28")) throw PostgresError(error);
  if (says(said, {"requires a valid client certificate"}))
    throw PostgresError(Exit::no_permission,
                        "cannot reach " + shown() + ": " + tls_client_wanted(trust.names).what(), state);
  if (says(said, {"no encryption"}))
    throw PostgresError(Exit::no_permission,
                        shown() +
                            " lets this user not in from here without TLS, by its pg_hba.conf; write "
                            "sslmode=verify-full into the address "
                            "(STEM_BROKER_URL), and put the certificate of the server's authority into " +
                            trust.names.ca,
                        state);
  // Where the certificate is a part of logging in, PostgreSQL tells only its log which part was wrong.
  if (trust.asked && !ours.empty()) {
    const auto mine = TlsContext(trust.config, trust.names).client();
    throw PostgresError(Exit::no_permission,
                        std::string(error.what()) + "; if it goes by certificates, the user has to be '" +
                            (mine ? mine->subject : "?") + "', the common name of the one in " +
                            trust.names.client_cert + " (" + printable(ours) +
                            "), or be mapped to it in its pg_ident.conf",
                        state);
  }
  throw PostgresError(error);
}

std::pair<std::string, std::string> PostgresConnection::tls() const {
  if (pq_.PQsslInUse(connection_) == 0) return {};
  const auto attribute = [&](const char* name) {
    const char* const value = pq_.PQsslAttribute(connection_, name);
    return std::string(value != nullptr ? value : "");
  };
  return {attribute("protocol"), attribute("cipher")};
}

std::optional<TlsLook> PostgresConnection::shake_hands_again(const PostgresTrust& trust,
                                                             bool to_the_end) const {
  const auto host = address_.servers[server_].find("host");
  return shake_hands_with_postgres(
      reached_, reached_size_, host == address_.servers[server_].end() ? std::string() : host->second, trust,
      std::min<Duration>(address_.connect_timeout, longest_look), to_the_end);
}

void PostgresConnection::set_up() {
  const auto needs = [&](const std::string& what) {
    throw PostgresError(Exit::config, shown() + " " + what, "");
  };
  if (const int version = pq_.PQserverVersion(connection_); version < oldest_server)
    needs("is version " + std::to_string(version / 10000) + "; Stem needs PostgreSQL 14 or newer");
  if (const char* encoding = pq_.PQparameterStatus(connection_, "server_encoding");
      encoding == nullptr || std::string_view(encoding) != "UTF8")
    needs("keeps text as " + std::string(encoding != nullptr ? encoding : "?") +
          "; create Stem's database with ENCODING 'UTF8'");
  pq_.PQsetnonblocking(connection_, 1);
  const auto limit = std::to_string(std::chrono::ceil<std::chrono::milliseconds>(address_.timeout).count());
  // Tables that are empty one minute and full the next make statistics lie: each statement has one good plan,
  // an index and a loop, and is planned once.
  const auto rows =
      execute("SET search_path = " + quoted(address_.schema) +
              "; SET plan_cache_mode = force_generic_plan; SET jit = off; SET enable_seqscan = off;"
              "SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;"
              "SET max_parallel_workers_per_gather = 0; SET idle_session_timeout = 0;"
              "SET default_transaction_isolation = 'read committed';"
              "SET lock_timeout = " +
              limit + "; SET statement_timeout = " + limit +
              "; SET idle_in_transaction_session_timeout = '30s';"
              "SELECT pid || ' ' || extract(epoch FROM backend_start) FROM pg_stat_activity WHERE pid = "
              "pg_backend_pid()");
  session_ = rows.back().text(0, 0);
}

PGresult* PostgresConnection::next(bool open) {
  const auto deadline = std::chrono::steady_clock::now() + address_.timeout;
  for (;;) {
    const int unsent = pq_.PQflush(connection_);
    if (unsent < 0) lost(plain_message(pq_.PQerrorMessage(connection_)), open);
    if (pq_.PQisBusy(connection_) == 0) return pq_.PQgetResult(connection_);
    wait(static_cast<short>(unsent > 0 ? POLLIN | POLLOUT : POLLIN), deadline,
         "no answer within " + format_duration(address_.timeout), open);
    if (pq_.PQconsumeInput(connection_) == 0) lost(plain_message(pq_.PQerrorMessage(connection_)), open);
  }
}

void PostgresConnection::sent(int ok) {
  if (ok == 0) lost(plain_message(pq_.PQerrorMessage(connection_)), false);
}

std::vector<PostgresRows> PostgresConnection::execute(const std::string& sql) {
  sent(pq_.PQsendQuery(connection_, sql.c_str()));
  std::vector<PostgresRows> all;
  std::optional<PostgresError> refused;
  while (auto* const result = next(true)) {
    all.emplace_back(result);
    const auto status = pq_.PQresultStatus(result);
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || refused) continue;
    const char* state = pq_.PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (state == nullptr) lost(plain_message(pq_.PQresultErrorMessage(result)), true);
    refused = postgres_error(shown(), state, pq_.PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
  }
  if (refused) throw PostgresError(*refused);
  return all;
}

void PostgresConnection::send(const std::vector<PostgresCall>& calls,
                              std::vector<const PostgresStatement*>& expected) {
  for (const auto& call : calls) {
    const auto& statement = call.statement;
    if (!prepared_.contains(&statement) &&
        std::find(expected.begin(), expected.end(), &statement) == expected.end()) {
      sent(pq_.PQsendPrepare(connection_, statement.name, statement.sql.c_str(), 0, nullptr));
      expected.push_back(&statement);
    }
    std::vector<const char*> values;
    std::vector<int> lengths, formats;
    for (const auto& value : call.parameters.values()) {
      values.push_back(value.data());
      lengths.push_back(static_cast<int>(value.size()));
      formats.push_back(in_binary);
    }
    sent(pq_.PQsendQueryPrepared(connection_, statement.name, static_cast<int>(values.size()), values.data(),
                                 lengths.data(), formats.data(), in_binary));
    expected.push_back(nullptr);
  }
  sent(pq_.PQpipelineSync(connection_));
}

std::vector<PostgresRows> PostgresConnection::run(const std::vector<PostgresCall>& calls,
                                                  const std::vector<PostgresCall>& afterwards) {
  if (!in_pipeline_) sent(pq_.PQenterPipelineMode(connection_));
  in_pipeline_ = true;
  std::vector<const PostgresStatement*> expected;  // null = a call, else the preparation of one
  send(calls, expected);
  const auto own = expected.size();
  if (!afterwards.empty()) send(afterwards, expected);

  std::vector<PostgresRows> all;
  std::optional<PostgresError> refused;
  const auto receive = [&](std::size_t begin, std::size_t end, bool open) {
    bool between = false;
    for (auto i = begin; i <= end;) {  // the last one is the end of the transaction
      auto* const result = next(open);
      if (result == nullptr) {  // between two commands
        if (std::exchange(between, true)) lost("it answers out of turn", open);
        continue;
      }
      between = false;
      PostgresRows rows(result);
      const auto status = pq_.PQresultStatus(result);
      if (status == PGRES_PIPELINE_SYNC) return;
      const auto* const preparing = i < end ? expected[i] : nullptr;
      if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) {
        if (preparing != nullptr)
          prepared_.insert(preparing);
        else if (begin == 0)
          all.push_back(std::move(rows));
      } else if (status == PGRES_FATAL_ERROR && !refused) {
        const char* state = pq_.PQresultErrorField(result, PG_DIAG_SQLSTATE);
        if (state == nullptr) lost(plain_message(pq_.PQresultErrorMessage(result)), open);
        refused = postgres_error(shown(), state, pq_.PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
        // The server goes away: it may have done so right after the commit.
        if (refused->code() == Exit::unavailable && refused->state() != "25006") {
          broken_ = true;
          throw PostgresError(refused->code(), refused->what(), refused->state(), open);
        }
        if (refused->state() == "26000") prepared_.clear();
      }
      ++i;
    }
  };
  receive(0, own, true);
  if (refused && !afterwards.empty()) {
    // Its answers must not be taken for those of the next call.
    receive(own, expected.size(), false);
  }
  if (refused) throw PostgresError(*refused);
  if (!afterwards.empty()) try {
      receive(own, expected.size(), false);
    } catch (const PostgresError&) {
      broken_ = true;  // but what it was called for is done
    }
  return all;
}

bool PostgresConnection::is_usable() const {
  return !broken_ && pq_.PQstatus(connection_) == CONNECTION_OK &&
         pq_.PQtransactionStatus(connection_) == PQTRANS_IDLE;
}

bool PostgresConnection::is_stale() const {
  char byte = 0;
  return ::recv(fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || (errno != EAGAIN && errno != EINTR);
}

bool PostgresConnection::drain(const std::function<void(std::string_view)>& heard) {
  if (pq_.PQconsumeInput(connection_) == 0) return false;
  while (auto* const notification = pq_.PQnotifies(connection_)) {
    const std::unique_ptr<PGnotify, void (*)(void*)> owned(notification, pq_.PQfreemem);
    if (heard) heard(notification->extra);
  }
  return pq_.PQstatus(connection_) == CONNECTION_OK;
}

}  // namespace stem
