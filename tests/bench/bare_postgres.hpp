#pragma once

#include <libpq-fe.h>
#include <poll.h>

#include "../unit/postgres_server.hpp"
#include "worker_figures.hpp"

/// The least that any worker on PostgreSQL does, through libpq: lease 100, then delete them and lease the
/// next 100, as two statements of one transaction in one pipeline. It keeps no ids, priorities, delays, or
/// results.
class BarePostgres {
 public:
  explicit BarePostgres(const PostgresServer& server) : connection_(PQconnectdb(server.url().c_str())) {
    if (PQstatus(connection_) != CONNECTION_OK) throw std::runtime_error(PQerrorMessage(connection_));
    PQsetNoticeProcessor(
        connection_, [](void*, const char*) {}, nullptr);
    run("CREATE TABLE IF NOT EXISTS bare(id bigserial PRIMARY KEY, lease bigint NOT NULL DEFAULT 0, wire "
        "text NOT NULL)");
    prepare("fill", "INSERT INTO bare(wire) SELECT unnest($1::text[])");
    prepare("end", "DELETE FROM bare WHERE id = ANY($1::bigint[])");
    prepare("lease",
            "UPDATE bare SET lease = $1::bigint WHERE id IN (SELECT id FROM bare WHERE lease = 0 ORDER BY id "
            "LIMIT 100 "
            "FOR UPDATE SKIP LOCKED) RETURNING id, wire");
    prepare("ring", "SELECT pg_notify($1::text, '')");
    PQenterPipelineMode(connection_);
  }
  ~BarePostgres() { PQfinish(connection_); }
  BarePostgres(const BarePostgres&) = delete;
  BarePostgres& operator=(const BarePostgres&) = delete;

  /// The same texts as ours, without what ours keeps beside them.
  void publish(std::span<const stem::Envelope> jobs) {
    fill(jobs);
    finish();
  }
  double drain(std::size_t count) {
    const auto begin = SteadyClock::now();
    std::size_t done = 0;
    Leased leased;
    do {
      done += leased.size;
      leased = exchange(leased);
    } while (leased.size > 0);
    const double length = seconds_since(begin);
    if (done != count || wires_ == 0) throw std::runtime_error("the bare loop left jobs");
    // What was deleted would have to be passed over by whatever is measured next.
    PQexitPipelineMode(connection_);
    run("TRUNCATE bare");
    PQenterPipelineMode(connection_);
    return static_cast<double>(count) / length;
  }

  /// Listens on the connection on which it leases; what it ends goes out with the lease of nothing.
  static void consume(const PostgresServer& server, const std::function<void()>& started) {
    BarePostgres bare(server);
    PQexitPipelineMode(bare.connection_);
    bare.run("LISTEN bare");
    PQenterPipelineMode(bare.connection_);
    for (Leased leased;;) {
      leased = bare.exchange(leased);
      if (leased.size > 0) {
        started();
        continue;
      }
      pollfd one{.fd = PQsocket(bare.connection_), .events = POLLIN, .revents = 0};
      for (PGnotify* heard = nullptr; heard == nullptr;) {
        if ((heard = PQnotifies(bare.connection_)) == nullptr) {
          poll(&one, 1, -1);
          if (PQconsumeInput(bare.connection_) == 0)
            throw std::runtime_error(PQerrorMessage(bare.connection_));
        }
        PQfreemem(heard);
      }
    }
  }
  /// Notifies behind the commit, as ours does, in the same round trip.
  static std::function<void(std::size_t)> produce(const PostgresServer& server) {
    const auto bare = std::make_shared<BarePostgres>(server);
    return [bare](std::size_t number) {
      const auto job = some_job(number);
      bare->fill({&job, 1});
      bare->send("ring", "bare");
      PQpipelineSync(bare->connection_);
      bare->finish();
      bare->finish();
    };
  }

 private:
  struct Leased {
    std::string ids;
    std::size_t size = 0;
  };

  void fill(std::span<const stem::Envelope> jobs) {
    std::string array = "{";
    for (const auto& job : jobs) {
      array += array.size() > 1 ? ",\"" : "\"";
      for (const char c : to_wire(job)) {
        if (c == '"' || c == '\\') array += '\\';
        array += c;
      }
      array += '"';
    }
    send("fill", array + "}");
    PQpipelineSync(connection_);
  }
  Leased exchange(const Leased& done) {
    if (done.size > 0) send("end", "{" + done.ids + "}");
    send("lease", std::to_string(SteadyClock::now().time_since_epoch().count()));
    PQpipelineSync(connection_);
    Leased leased;
    finish([&](PGresult* rows) {
      for (int row = 0; row < PQntuples(rows); ++row, ++leased.size) {
        if (!leased.ids.empty()) leased.ids += ',';
        leased.ids += PQgetvalue(rows, row, 0);
        wires_ += static_cast<std::size_t>(PQgetlength(rows, row, 1));
      }
    });
    return leased;
  }
  void run(const char* sql) {
    auto* const result = PQexec(connection_, sql);
    if (PQresultStatus(result) != PGRES_COMMAND_OK) throw std::runtime_error(PQerrorMessage(connection_));
    PQclear(result);
  }
  void prepare(const char* name, const char* sql) { PQclear(PQprepare(connection_, name, sql, 0, nullptr)); }
  void send(const char* name, const std::string& parameter) {
    const char* value = parameter.c_str();
    if (PQsendQueryPrepared(connection_, name, 1, &value, nullptr, nullptr, 0) == 0)
      throw std::runtime_error(PQerrorMessage(connection_));
  }
  template <class Take>
  void finish(Take take) {
    for (;;) {
      auto* const result = PQgetResult(connection_);
      if (result == nullptr) continue;
      const auto status = PQresultStatus(result);
      if (status == PGRES_TUPLES_OK) take(result);
      PQclear(result);
      if (status == PGRES_PIPELINE_SYNC) return;
      if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
        throw std::runtime_error(PQerrorMessage(connection_));
    }
  }
  void finish() {
    finish([](PGresult*) {});
  }

  PGconn* connection_;
  std::size_t wires_ = 0;
};
