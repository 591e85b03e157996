#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <atomic>
#include <future>
#include <set>
#include <thread>

#include "child_process.hpp"
#include "core/descriptor.hpp"
#include "error_of.hpp"
#include "failing_server.hpp"
#include "storage/postgres_address.hpp"
#include "storage/postgres_connection.hpp"
#include "storage/postgres_schema.hpp"
#include "storage_rig.hpp"

using namespace stem;
using namespace std::chrono_literals;
using State = JobView::State;

// What is PostgreSQL's own: addresses, refusals, what lies in the tables, and a server that fails.

namespace {

PostgresAddress address(const std::string& url) {
  return PostgresAddress::from(Url::parse(url));
}

/// Says SQL as the server's owner; the first value of the last answer.
std::string tell(const PostgresServer& server, const std::string& sql, const std::string& schema = "public") {
  PostgresConnection connection(address(server.url("schema=" + schema)));
  const auto rows = connection.execute(sql);
  return rows.empty() || rows.back().count() == 0 ? std::string() : std::string(rows.back().text(0, 0));
}

struct ServerRig : StorageRig {
  explicit ServerRig(const std::string& url) : StorageRig(url) {}
  explicit ServerRig(const PostgresServer& server, const std::string& parameters = {})
      : StorageRig(server.url(parameters)) {}
};

bool has_listener(const PostgresServer& server) {
  return tell(server, "SELECT count(*) FROM pg_stat_activity WHERE query = 'LISTEN \"stem:jobs\"'") == "1";
}

Failed publishing(StorageRig& rig, const std::string& id = "a") {
  return error_of([&] { rig.enqueue({id}); });
}

std::string fresh_schema() {
  static int count = 0;
  return "own-" + std::to_string(++count);
}

/// Stands between a client and the server, and can break in at the worst moment.
class Proxy {
 public:
  enum class Cut { nothing, request, answer };

  explicit Proxy(const PostgresServer& server) : upstream_(server.directory() + "/.s.PGSQL.5432") {
    listening_.reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const auto name = name_of(dir_ / ".s.PGSQL.5432");
    if (bind(listening_.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) != 0 ||
        ::listen(listening_.get(), 10) != 0)
      throw std::runtime_error("proxy");
    thread_ = std::thread([this] { serve(); });
  }
  ~Proxy() {
    over_ = true;
    thread_.join();
  }
  std::string url(const std::string& parameters) const {
    return "postgresql://stem@/postgres?host=" + dir_.path() + "&" + parameters;
  }
  /// The next request but `spared` is thrown away, or it is passed on and its answer is thrown away: then the
  /// connection breaks.
  void cut(Cut what, int spared = 0) {
    spared_ = spared;
    cut_ = what;
  }
  bool has_cut() const { return cut_ == Cut::nothing; }

 private:
  struct Pair {
    Descriptor client, server;
  };
  static sockaddr_un name_of(const std::string& path) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    std::strncpy(name.sun_path, path.c_str(), sizeof name.sun_path - 1);
    return name;
  }
  /// False when the connection is over.
  bool pass_on(Pair& pair, bool from_client) {
    char buffer[65536];
    const auto size = recv((from_client ? pair.client : pair.server).get(), buffer, sizeof buffer, 0);
    if (size <= 0) return false;
    const auto cut = cut_.load();
    if (cut == (from_client ? Cut::request : Cut::answer) && spared_-- == 0) {
      cut_ = Cut::nothing;
      return false;
    }
    return send((from_client ? pair.server : pair.client).get(), buffer, static_cast<std::size_t>(size),
                MSG_NOSIGNAL) == size;
  }
  void serve() {
    std::vector<Pair> pairs;
    while (!over_) {
      std::vector<pollfd> fds{{listening_.get(), POLLIN, 0}};
      for (const auto& pair : pairs)
        for (const int fd : {pair.client.get(), pair.server.get()}) fds.push_back({fd, POLLIN, 0});
      if (poll(fds.data(), fds.size(), 20) <= 0) continue;
      for (std::size_t i = pairs.size(); i-- > 0;) {
        const bool goes_on = (fds[1 + 2 * i].revents == 0 || pass_on(pairs[i], true)) &&
                             (fds[2 + 2 * i].revents == 0 || pass_on(pairs[i], false));
        if (!goes_on) pairs.erase(pairs.begin() + static_cast<std::ptrdiff_t>(i));
      }
      if (fds[0].revents == 0) continue;
      Pair pair{Descriptor(accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC)),
                Descriptor(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0))};
      const auto name = name_of(upstream_);
      if (connect(pair.server.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0)
        pairs.push_back(std::move(pair));
    }
  }

  const TempDir dir_;
  const std::string upstream_;
  Descriptor listening_;
  std::atomic<bool> over_{false};
  std::atomic<Cut> cut_{Cut::nothing};
  std::atomic<int> spared_{0};
  std::thread thread_;
};

}  // namespace

TEST_CASE("postgresql: an address is libpq's, with a schema and time limits of ours") {
  auto one = address(
      "postgresql://ann:p%40ss%3Aw%2Frd@db.example:6432/jobs?sslmode=verify-full&schema=shop&timeout=2s");
  REQUIRE(one.servers.size() == 1);
  auto options = one.servers[0];
  CHECK(options["host"] == "db.example");
  CHECK(options["port"] == "6432");
  CHECK(options["dbname"] == "jobs");
  CHECK(options["user"] == "ann");
  CHECK(options["password"] == "p@ss:w/rd");
  CHECK(options["sslmode"] == "verify-full");
  CHECK(options["client_encoding"] == "UTF8");
  CHECK_FALSE(options.contains("schema"));
  CHECK(one.schema == "shop");
  CHECK(one.timeout == 2s);
  CHECK(one.connect_timeout == 2s);
  CHECK(one.shown() == "postgresql://db.example:6432/jobs");
  one = address("postgres:///stem?host=/run/postgresql&connect_timeout=3&namespace=a&keepalives_idle=60");
  CHECK(one.servers[0]["host"] == "/run/postgresql");
  CHECK(one.servers[0]["keepalives_idle"] == "60");
  CHECK(one.schema == "a");
  CHECK(one.connect_timeout == 3s);
  CHECK(one.shown() == "postgresql:///stem?host=/run/postgresql");
  CHECK(address("postgres://").schema == "stem");
  CHECK(address("postgres://[::1]:7000/x").shown() == "postgresql://[::1]:7000/x");
  for (const auto* tls : {"postgres+ssl://h/d", "postgresql+ssl://h/d"})
    CHECK(address(tls).servers[0]["sslmode"] == "require");
  CHECK(address("postgres+ssl://h/d?sslmode=verify-ca").servers[0]["sslmode"] == "verify-ca");
  one = address("postgresql://a:1,b:2/d?target_session_attrs=read-write");
  REQUIRE(one.servers.size() == 2);
  CHECK(one.shown(0) == "postgresql://a:1/d");
  CHECK(one.shown(1) == "postgresql://b:2/d");
  CHECK(one.servers[1]["target_session_attrs"] == "read-write");
  CHECK(address("postgresql:///d?host=a,b&port=7").shown(1) == "postgresql://b:7/d");
}

TEST_CASE("postgresql: an address that means nothing is refused without repeating what may be a password") {
  for (const auto* bad :
       {"postgres://u:hunter2@[::1/d", "postgres://h/d?hunter2=1", "postgres://h/d?timeout=hunter2",
        "postgres://h/d?timeout=11s", "postgres://h/d?timeout=0s", "postgres://h/d?schema=",
        "postgres://h/d?schema=a%22b", "postgres://h/d?schema=pg_x", "postgres://h/d?schema=a&namespace=b",
        "postgres://h/d?connect_timeout=hunter2", "postgres://h/d?connect_timeout=60",
        "postgres://h/d?client_encoding=LATIN1", "postgres://h/d?replication=true",
        "postgres+ssl://u:hunter2@h/d?sslmode=disable", "postgresql+ssl://h/d?sslmode=prefer",
        "postgres:///d?host=a,b&port=1,2,3", "postgres:///d?host=a,b&hostaddr=127.0.0.1"}) {
    CAPTURE(bad);
    const auto failed = error_of([&] { address(bad); });
    CAPTURE(failed.message);
    CHECK(failed.status == 78);
    CHECK(failed.is_one_line());
    const bool repeats_a_name = std::string(bad).find("?hunter2=") != std::string::npos;
    CHECK(failed.says("hunter2") == repeats_a_name);
  }
}

TEST_CASE("postgresql: each refusal of the server has one message and its exit status") {
  for (const auto& [state, status, part] : std::vector<std::tuple<const char*, int, const char*>>{
           {"28P01", 77, "refuses the user or the password"},
           {"28000", 77, "pg_hba.conf"},
           {"3D000", 78, "no such database"},
           {"42501", 77, "docs/postgres.md"},
           {"53300", 69, "max_connections"},
           {"53100", 73, "full disk"},
           {"53200", 75, "out of memory"},
           {"53400", 75, "limits"},
           {"58030", 73, "files"},
           {"57P01", 69, "closed the connection"},
           {"57P02", 69, "closed the connection"},
           {"57P03", 69, "starting up"},
           {"57P04", 78, "dropped the database"},
           {"08006", 69, "closed the connection"},
           {"57014", 75, "took too long"},
           {"55P03", 75, "took too long"},
           {"25006", 69, "read-only"},
           {"40001", 75, "collided"},
           {"40P01", 75, "collided"},
           {"22021", 65, "not UTF-8"},
           {"42P01", 78, "lacks Stem's tables"},
           {"3F000", 78, "lacks Stem's tables"},
           {"XX000", 70, "something else [XX000]"}}) {
    CAPTURE(state);
    const auto error = postgres_error("PostgreSQL at x", state, "something\nelse");
    CHECK(static_cast<int>(error.code()) == status);
    CHECK(std::string(error.what()).find(part) != std::string::npos);
    CHECK(Failed{status, error.what()}.is_one_line());
    CHECK(error.state() == state);
  }
  CHECK(state_in("connection to server at \"h\" (::1), port 5 failed: FATAL:  28P01: password authentication "
                 "failed\nLOCATION:  x, y.c:1\n") == "28P01");
  CHECK(state_in("connection to server failed: Connection refused").empty());
  CHECK(plain_message("failed: FATAL:  28P01: password\nLOCATION:  x, y.c:1\n") ==
        "failed: FATAL:  password");
}

TEST_CASE(
    "postgresql: a real server's refusals: password wrong and missing, no such database or role, no right, "
    "too many, read-only, not UTF-8") {
  PostgresServer server;
  tell(server,
       "CREATE ROLE locked LOGIN PASSWORD 'hunter2'; CREATE ROLE weak LOGIN; CREATE ROLE single LOGIN "
       "SUPERUSER CONNECTION LIMIT 1;"
       "CREATE ROLE lone LOGIN CONNECTION LIMIT 0; CREATE ROLE reader LOGIN; ALTER ROLE reader SET "
       "default_transaction_read_only = on");
  PostgresConnection(address(server.url()))
      .execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
  std::ofstream(server.data() + "/pg_hba.conf")
      << "local all locked scram-sha-256\nlocal nobodys all reject\nlocal all all trust\n";
  tell(server, "SELECT pg_reload_conf()");
  REQUIRE(eventually([&] {
    return tell(server, "SELECT count(*) FROM pg_hba_file_rules WHERE auth_method = 'reject'") == "1";
  }));
  const auto failure = [&](const std::string& person, const std::string& database = "postgres",
                           const std::string& parameters = {}) {
    const auto failed = error_of([&] { ServerRig(server.url(parameters, person, database)).enqueue({"a"}); });
    CAPTURE(failed.message);
    CHECK_FALSE(failed.says("hunter"));
    if (failed.status != 0) CHECK(failed.is_one_line());
    return failed;
  };
  // The server takes a moment to read its new rules.
  CHECK(eventually([&] { return failure("locked:hunter3@").status == 77; }));
  CHECK(failure("locked:hunter3@").says("refuses the user or the password"));
  CHECK(failure("locked@").status == 77);
  CHECK(failure("locked@").says("asks for a password"));
  CHECK(failure("nobody@").status == 77);
  CHECK(failure("stem@", "none").status == 78);
  CHECK(failure("stem@", "none").says("no such database"));
  CHECK(failure("stem@", "latin").status == 78);
  CHECK(failure("stem@", "latin").says("ENCODING 'UTF8'"));
  CHECK(failure("stem@", "nobodys").status == 77);
  CHECK(failure("stem@", "nobodys").says("pg_hba.conf"));
  CHECK(failure("weak@").status == 77);
  CHECK(failure("weak@").says("docs/postgres.md"));
  CHECK(failure("lone@").status == 69);
  CHECK(failure("lone@").says("max_connections"));
  CHECK(failure("stem@").status == 0);
  tell(server,
       "GRANT ALL ON SCHEMA stem TO reader; GRANT ALL ON ALL TABLES IN SCHEMA stem TO reader; GRANT ALL ON "
       "ALL SEQUENCES IN SCHEMA stem TO reader");
  CHECK(failure("reader@").status == 69);
  CHECK(failure("reader@").says("read-only"));
  // Rights to a schema that somebody made are all that it takes.
  tell(server, "CREATE SCHEMA given AUTHORIZATION weak");
  CHECK(failure("weak@", "postgres", "schema=given").status == 0);
}

TEST_CASE(
    "postgresql: a server that is not there is unreachable; of several the one that is there is taken") {
  TempDir dir;
  ServerRig rig("postgresql:///stem?host=" + dir.path());
  const auto failed = publishing(rig);
  CHECK(failed.status == 69);
  CHECK(failed.says("cannot reach PostgreSQL at postgresql:///stem?host=" + dir.path()));
  CHECK(failed.is_one_line());
  ServerRig refused("postgresql://stem:hunter2@127.0.0.1:1/stem");
  CHECK(publishing(refused).status == 69);
  CHECK_FALSE(publishing(refused).says("hunter2"));
  ServerRig nowhere("postgresql://no-such-host.invalid/stem");
  CHECK(publishing(nowhere).status == 69);
  const auto& server = PostgresServer::shared();
  ServerRig several("postgresql://stem@/postgres?host=" + dir.path() + "," + server.directory() +
                    "&schema=" + fresh_schema());
  CHECK(publishing(several).status == 0);
  // Somebody who takes connections and says nothing is given up in time.
  Descriptor silent(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::strncpy(name.sun_path, (dir / ".s.PGSQL.5432").c_str(), sizeof name.sun_path - 1);
  REQUIRE(bind(silent.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0);
  REQUIRE(listen(silent.get(), 5) == 0);
  ServerRig hasty("postgresql://stem@/postgres?timeout=200ms&host=" + dir.path());
  CHECK(publishing(hasty).status == 69);
  CHECK(publishing(hasty).says("no connection within 200ms"));
  ServerRig both("postgresql://stem@/postgres?timeout=1s&host=" + dir.path() + "," + server.directory() +
                 "&schema=" + fresh_schema());
  CHECK(publishing(both).status == 0);
}

TEST_CASE("postgresql: a server without TLS, or on a port that is none, is a matter of the address") {
  Descriptor listening(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof name;
  REQUIRE(bind(listening.get(), reinterpret_cast<const sockaddr*>(&name), size) == 0);
  REQUIRE(listen(listening.get(), 5) == 0);
  REQUIRE(getsockname(listening.get(), reinterpret_cast<sockaddr*>(&name), &size) == 0);
  std::thread server([&] {
    const Descriptor client(accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC));
    char request[8];
    (void)!recv(client.get(), request, sizeof request, MSG_WAITALL);
    (void)!send(client.get(), "N", 1, MSG_NOSIGNAL);  // no TLS
    (void)!recv(client.get(), request, sizeof request, 0);
  });
  ServerRig rig("postgres+ssl://stem:hunter2@127.0.0.1:" + std::to_string(ntohs(name.sin_port)) +
                "/stem?gssencmode=disable");
  const auto failed = publishing(rig);
  server.join();
  CHECK(failed.status == 78);
  CHECK(failed.says("does not support SSL"));
  CHECK_FALSE(failed.says("hunter2"));
  ServerRig nowhere("postgresql://stem:hunter2@127.0.0.1:0/stem");
  CHECK(publishing(nowhere).status == 78);
  CHECK(publishing(nowhere).says("port"));
}

TEST_CASE(
    "postgresql: text that it cannot hold is refused with 65, and reasons and values may be any bytes") {
  PostgresRig rig;
  CHECK(error_of([&] { rig.broker().find(std::string("a\0b", 3)); }).status == 65);
  CHECK(error_of([&] { rig.store().get("\xff"); }).status == 65);
  rig.enqueue({"a"});
  const std::string odd("\xff\0'", 3);
  CHECK(rig.settle(rig.fetch_one(), DeadLetter{odd, {{"error", odd}}}, StoreWrite{"k", odd, {}}));
  CHECK(rig.broker().dead_letters("", 1).at(0).reason == odd);
  CHECK(rig.store().get("k")->value == odd);
}

TEST_CASE(
    "postgresql: many processes may make the tables at the same time, and older tables are brought up to "
    "date") {
  const auto& server = PostgresServer::shared();
  const auto schema = fresh_schema();
  const auto known = postgres_migrations();
  const int next = known.back().version + 1;
  std::vector<PostgresMigration> steps(known.begin(), known.end());
  steps.push_back({next, "CREATE TABLE extra(x int); INSERT INTO extra VALUES(1);"});
  steps.push_back({next + 1, "INSERT INTO extra VALUES(2);"});
  for (const auto* rounds : {"new", "older"}) {
    CAPTURE(rounds);
    const auto count = std::string(rounds) == "new" ? known.size() : steps.size();
    std::vector<std::unique_ptr<ChildProcess>> all;
    for (int i = 0; i < 4; ++i)
      all.push_back(std::make_unique<ChildProcess>([&] {
        PostgresConnection connection(address(server.url("schema=" + schema)));
        bring_up_to_date(connection, schema, std::span(steps).first(count));
        return 0;
      }));
    for (auto& one : all) CHECK(one->wait() == 0);
  }
  CHECK(tell(server, "SELECT version FROM stem_schema", schema) == std::to_string(next + 1));
  CHECK(tell(server, "SELECT sum(x) FROM extra", schema) == "3");
  // By now this program is the older one.
  ServerRig rig(server, "schema=" + schema);
  const auto failed = publishing(rig);
  CHECK(failed.status == 78);
  CHECK(failed.says("has version " + std::to_string(next + 1) + ", this program knows up to " +
                    std::to_string(known.back().version)));
}

TEST_CASE(
    "postgresql: a migration that fails changes nothing, and a schema of somebody else's is left alone") {
  const auto& server = PostgresServer::shared();
  const auto schema = fresh_schema();
  std::vector<PostgresMigration> steps(postgres_migrations().begin(), postgres_migrations().end());
  steps.push_back({steps.back().version + 1, "NONSENSE;"});
  CHECK(error_of([&] {
          PostgresConnection connection(address(server.url("schema=" + schema)));
          bring_up_to_date(connection, schema, steps);
        }).status == 70);
  CHECK(tell(server, "SELECT count(*) FROM pg_namespace WHERE nspname = '" + schema + "'") == "0");
  tell(server, "CREATE SCHEMA theirs; CREATE TABLE theirs.job(x int)");
  ServerRig rig(server, "schema=theirs");
  CHECK(publishing(rig).status == 78);
  CHECK(publishing(rig).says("belongs to another program"));
}

TEST_CASE("postgresql: tables that vanish are told, and two schemas are two brokers") {
  const auto& server = PostgresServer::shared();
  const auto schema = fresh_schema();
  ServerRig one(server, "schema=" + schema), other(server, "schema=" + fresh_schema());
  one.enqueue({"a"});
  other.enqueue({"b"});
  CHECK(one.enqueue({"b"}) == 1);
  CHECK(ids(other.fetch()) == Ids{"b"});
  CHECK_FALSE(one.broker().keeps_records_of(other.store()));
  tell(server, "DROP SCHEMA \"" + schema + "\" CASCADE");
  CHECK(publishing(one).status == 78);
  CHECK(publishing(one).says("lacks Stem's tables"));
}

TEST_CASE("postgresql: a lease goes onto the page of its job: no index grows, however many are leased") {
  PostgresRig rig;
  std::vector<Envelope> jobs;
  for (int i = 0; i < 500; ++i) jobs.push_back(rig.job("job-" + std::to_string(i)));
  rig.publish(jobs);
  while (!rig.fetch(100).empty()) {
  }
  const auto& server = PostgresServer::shared();
  // The counters of a session are told when it goes.
  rig.storage = {};
  CHECK(eventually([&] {
    return tell(server,
                "SELECT n_tup_upd || ' ' || n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'job' AND "
                "schemaname = '" +
                    rig.schema() + "'") == "500 500";
  }));
}

TEST_CASE(
    "postgresql: what was settled when the connection broke is settled once, whether the server had done it "
    "or not") {
  const auto& server = PostgresServer::shared();
  for (const bool done : {false, true}) {
    CAPTURE(done);
    Proxy proxy(server);
    const auto schema = fresh_schema();
    ServerRig rig(proxy.url("schema=" + schema + "&timeout=3s")), direct(server, "schema=" + schema);
    direct.clock.move(rig.clock.wall() - direct.clock.wall());
    rig.enqueue({"a", "b", "c", "d"});
    const auto first = rig.fetch(2);
    const std::vector<Settlement> ended{
        {first[0].receipt, Ack{}, StoreWrite{"result:a", "A", {}}},
        {first[1].receipt, RetryAt{rig.clock.wall() + 5s}, StoreWrite{"result:b", "B", {}}}};
    proxy.cut(done ? Proxy::Cut::answer : Proxy::Cut::request);
    CHECK(error_of([&] { rig.broker().exchange(ended, StorageRig::demand(1)); }).status == 69);
    REQUIRE(proxy.has_cut());
    // A server that got the request does it, though nobody waits for it any more.
    if (done) {
      REQUIRE(eventually([&] { return !direct.broker().find("a"); }));
      CHECK(direct.broker().find("c")->state == State::leased);
    } else {
      CHECK(direct.broker().find("a")->state == State::leased);
    }
    const auto again = rig.broker().exchange(ended, StorageRig::demand(1));
    CHECK(again.lost.empty());
    CHECK(ids(again.deliveries) == Ids{"c"});
    CHECK(again.deliveries.at(0).deliveries == 1);
    CHECK_FALSE(direct.broker().find("a"));
    CHECK(direct.broker().find("b")->attempt == 1);
    CHECK(direct.store().get("result:a")->value == "A");
    CHECK(direct.broker().find("d")->state == State::ready);
    // Once only.
    CHECK(rig.broker().settle(ended).size() == 2);
    CHECK(ids(rig.fetch()) == Ids{"d"});
  }
}

TEST_CASE(
    "postgresql: what was published when the connection broke is published once, whether the server had done "
    "it or not") {
  const auto& server = PostgresServer::shared();
  for (const bool done : {false, true}) {
    CAPTURE(done);
    Proxy proxy(server);
    const auto schema = fresh_schema();
    ServerRig rig(proxy.url("schema=" + schema)), direct(server, "schema=" + schema);
    direct.enqueue({"a"});
    rig.broker().depths();
    auto other = direct.open();
    (void)other.broker->wake_fd();
    proxy.cut(done ? Proxy::Cut::answer : Proxy::Cut::request);
    CHECK(rig.enqueue({"a", "b", "c"}) == 2);
    CHECK(proxy.has_cut());
    CHECK(readable(other.broker->wake_fd(), 2000));
    CHECK(direct.depth().ready == 3);
  }
  // A job that was done before anybody looked is not done again.
  Proxy proxy(server);
  const auto schema = fresh_schema();
  ServerRig rig(proxy.url("schema=" + schema)), direct(server, "schema=" + schema);
  rig.broker().depths();
  std::atomic<bool> taken{false};
  std::thread worker([&] {
    std::vector<Delivery> deliveries;
    eventually([&] { return !(deliveries = direct.fetch()).empty(); });
    for (const auto& delivery : deliveries) direct.settle(delivery, Ack{});
    taken = deliveries.size() == 1;
  });
  proxy.cut(Proxy::Cut::answer);
  CHECK(rig.enqueue({"x"}) == 1);
  worker.join();
  CHECK(taken);
  CHECK(direct.broker().depths().empty());
  // Where no answer comes any more, it says that it does not know.
  ServerRig hasty(proxy.url("schema=" + schema + "&timeout=1s"));
  hasty.broker().depths();
  PostgresConnection holder(address(server.url("schema=" + schema)));
  holder.execute("BEGIN; LOCK TABLE publication IN ACCESS EXCLUSIVE MODE");
  proxy.cut(Proxy::Cut::request);
  const auto failed = publishing(hasty, "y");
  CHECK(failed.status == 69);
  CHECK(failed.says("may have been, or not"));
  CHECK(failed.is_one_line());
}

TEST_CASE("postgresql: a lease that was lost is told to be lost, also behind a connection that broke") {
  const auto& server = PostgresServer::shared();
  Proxy proxy(server);
  const auto schema = fresh_schema();
  ServerRig rig(proxy.url("schema=" + schema)), other(server, "schema=" + schema);
  rig.enqueue({"a", "b"});
  const auto both = rig.fetch();
  const std::vector<Settlement> one{{both[0].receipt, Ack{}, std::nullopt}};
  proxy.cut(Proxy::Cut::request);
  CHECK(error_of([&] { rig.broker().settle(one); }).status == 69);
  // Nobody took it over meanwhile.
  CHECK(rig.broker().settle(one).empty());
  other.clock.move(31s);
  const auto taken = other.fetch_one();
  CHECK(taken.id == "b");
  const std::vector<Settlement> late{{both[1].receipt, Ack{}, StoreWrite{"result:b", "late", {}}}};
  CHECK(rig.broker().settle(late) == std::vector{both[1].receipt});
  CHECK_FALSE(other.store().get("result:b"));
  CHECK(other.settle(taken, Ack{}));
}

TEST_CASE("postgresql: a connection that the server closed is replaced without a word") {
  const auto& server = PostgresServer::shared();
  const auto schema = fresh_schema();
  ServerRig rig(server, "schema=" + schema + "&application_name=" + schema);
  rig.enqueue({"a"});
  const auto lease = rig.fetch_one();
  const auto ours = "FROM pg_stat_activity WHERE application_name = '" + schema + "'";
  tell(server, std::string("SELECT pg_terminate_backend(pid, 5000) ") + ours);
  REQUIRE(tell(server, std::string("SELECT count(*) ") + ours) == "0");
  CHECK(rig.settle(lease, Ack{}));
  CHECK(rig.enqueue({"b"}) == 1);
  // Statements that the server was told to forget are told again.
  ServerRig pooled(server, "schema=" + schema);
  pooled.enqueue({"c"});
  CHECK(ids(pooled.fetch()) == Ids{"b", "c"});
}

TEST_CASE(
    "postgresql: who waits for a lock too long is told to try again, and a deadlock is tried again by "
    "itself") {
  const auto& server = PostgresServer::shared();
  const auto schema = fresh_schema();
  ServerRig(server, "schema=" + schema).enqueue({"a"});
  ServerRig rig(server, "schema=" + schema + "&timeout=300ms");
  PostgresConnection holder(address(server.url("schema=" + schema)));
  holder.execute("BEGIN; LOCK TABLE job IN ACCESS EXCLUSIVE MODE");
  const auto failed = publishing(rig, "b");
  CHECK((failed.status == 75 || failed.status == 69));  // whoever loses patience first
  holder.execute("ROLLBACK");
  CHECK(eventually([&] { return publishing(rig, "b").status == 0; }));  // a commit alone may take so long

  ServerRig patient(server, "schema=" + schema + "&timeout=9s");
  patient.store().put({{"x", "0", {}}, {"y", "0", {}}});
  holder.execute("SET deadlock_timeout = '1h'; BEGIN; UPDATE entry SET value = 'h' WHERE key = 'y'");
  auto put = std::async(std::launch::async, [&] { patient.store().put({{"x", "1", {}}, {"y", "1", {}}}); });
  REQUIRE(eventually([&] {
    return tell(server, "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'") !=
           "0";
  }));
  // Each waits for the other now; theirs is the one that notices.
  holder.execute("UPDATE entry SET value = 'h' WHERE key = 'x'");
  holder.execute("COMMIT");
  CHECK(error_of([&] { put.get(); }).status == 0);
  CHECK(patient.store().get("x")->value == "1");
  CHECK(patient.store().get("y")->value == "1");
}

TEST_CASE("postgresql: a full disk is told as such, and nothing is lost by it") {
  if (geteuid() != 0) {
    MESSAGE("skipped: not root");
    return;
  }
  enum { done, no_mounts, cannot_publish, not_full, lost, stays_full };
  ChildProcess process([]() -> int {
    TempDir dir;
    std::filesystem::permissions(dir.path(), std::filesystem::perms::all);
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("tmpfs", dir.path().c_str(), "tmpfs", 0, "size=4m,mode=777") != 0)
      return no_mounts;
    PostgresServer server;
    const auto space = dir / "space";
    std::filesystem::create_directory(space);
    std::filesystem::permissions(space, std::filesystem::perms::all);
    const auto* const owner = getpwnam("postgres");
    if (chown(space.c_str(), owner->pw_uid, owner->pw_gid) != 0) return no_mounts;
    PostgresConnection(address(server.url())).execute("CREATE TABLESPACE small LOCATION '" + space + "'");
    tell(server, "ALTER ROLE stem SET default_tablespace = small");
    ServerRig rig(server);
    std::size_t published = 0;
    Failed failed;
    for (int batch = 0; batch < 500 && failed.status == 0; ++batch) {
      std::vector<Envelope> jobs;
      for (int i = 0; i < 50; ++i) {
        jobs.push_back(rig.job(std::to_string(batch) + "-" + std::to_string(i)));
        jobs.back().args = {{"text", new_id(rig.clock.wall()) + new_id(rig.clock.wall())}};
      }
      failed = error_of([&] { published += rig.publish(jobs); });
    }
    if (published == 0) return cannot_publish;
    if (failed.status != 73 || !failed.says("full disk") || !failed.is_one_line()) return not_full;
    if (rig.depth().ready != static_cast<std::int64_t>(published)) return lost;
    if (mount("tmpfs", dir.path().c_str(), "tmpfs", MS_REMOUNT, "size=64m") != 0) return no_mounts;
    return rig.enqueue({"again"}) == 1 && rig.fetch(10).size() == 10 ? done : stays_full;
  });
  const int status = process.wait(60'000);
  if (status == no_mounts)
    MESSAGE("skipped: mounting is not allowed here");
  else
    CHECK(status == done);
}

TEST_CASE(
    "postgresql: a server that is stopped does not answer in time; when it goes on, so does the broker") {
  PostgresServer server;
  ServerRig rig(server, "timeout=1s");
  rig.enqueue({"a"});
  const auto lease = rig.fetch_one();
  server.signal(SIGSTOP);
  const auto failed = publishing(rig, "b");
  CHECK(failed.status == 69);
  CHECK(failed.says("no answer within 1s"));
  CHECK(publishing(rig, "c").status == 69);
  const std::vector<Settlement> ended{{lease.receipt, Ack{}, StoreWrite{"result:a", "A", {}}}};
  CHECK(error_of([&] { rig.broker().settle(ended); }).status == 69);
  server.signal(SIGCONT);
  CHECK(eventually([&] { return publishing(rig, "c").status == 0; }, 30'000));
  CHECK(rig.broker().settle(ended).empty());
  CHECK(rig.store().get("result:a")->value == "A");
  // What was sent before the server stopped may have been done since: at least once, never lost in silence.
  const auto found = ids(rig.fetch());
  CHECK(std::count(found.begin(), found.end(), "a") == 0);
  CHECK(std::count(found.begin(), found.end(), "c") == 1);
}

TEST_CASE("postgresql: a waiting worker and a waiting client outlive a restart of the server") {
  PostgresServer server;
  ServerRig rig(server);
  wait_through_a_restart(server, rig, [&] { return has_listener(server); });
}

TEST_CASE("postgresql: whoever waits before the server is there hears of jobs once it is") {
  PostgresServer server;
  server.stop(SIGKILL);
  ServerRig rig(server);
  wait_for_the_first_start(server, rig, [&] { return has_listener(server); });
}

TEST_CASE(
    "postgresql: a server that is killed and restarted under load loses no job, runs none twice, gives no "
    "result without its job") {
  PostgresServer server;
  // No lease ends here: what runs twice would be a lease that was forgotten.
  const auto told = restart_under_load(server, StorageRig::config_of(server.url("timeout=9s")), 10min,
                                       {SIGKILL, SIGINT, SIGKILL, SIGINT});
  CHECK(told.failures > 0);
  CHECK(told.lost == 0);
  CHECK(told.published.size() > 100);
  CHECK(told.recorded == told.published);
  for (const auto& [id, count] : told.runs) CHECK_MESSAGE(count == 1, id);
}

TEST_CASE(
    "postgresql: eight workers at once drain a queue, each job once, none left, and producers go on "
    "meanwhile") {
  const auto& server = PostgresServer::shared();
  const auto config = StorageRig::config_of(server.url("schema=" + fresh_schema()));
  constexpr int count = 4000;
  {
    const auto storage = open_storage(config);
    std::vector<Envelope> jobs;
    for (int i = 0; i < count; ++i) {
      Envelope job;
      job.id = "job-" + std::to_string(i);
      job.name = "test.task";
      job.queue = i % 2 == 0 ? "even" : "odd";
      job.priority = i % 10;
      jobs.push_back(job);
    }
    storage.broker->publish(jobs);
  }
  std::atomic<int> ran{0}, late{0};
  std::mutex mutex;
  std::set<std::string> seen;
  std::vector<std::thread> workers;
  for (int w = 0; w < 8; ++w)
    workers.emplace_back([&, w] {
      const auto storage = open_storage(config);
      const Demand demand{.queues = w % 2 == 0 ? std::vector<std::string>{"even", "odd"}
                                               : std::vector<std::string>{"odd", "even"},
                          .limit = 50};
      std::vector<Settlement> settlements;
      do {
        const auto next = storage.broker->exchange(settlements, demand);
        late += static_cast<int>(next.lost.size());
        settlements.clear();
        for (const auto& delivery : next.deliveries) {
          settlements.push_back({delivery.receipt, Ack{}, StoreWrite{"result:" + delivery.id, "done", 1h}});
          ++ran;
          const std::lock_guard lock(mutex);
          CHECK(seen.insert(delivery.id).second);
        }
      } while (!settlements.empty());
    });
  for (auto& worker : workers) worker.join();
  CHECK(ran == count);
  CHECK(late == 0);
  const auto storage = open_storage(config);
  CHECK(storage.broker->depths().empty());
  CHECK(storage.results->list("result:", 10'000).size() == count);
}

TEST_CASE("postgresql: what a killed worker held is taken over when its lease has ended") {
  take_over_from_a_killed_worker(
      StorageRig::config_of(PostgresServer::shared().url("schema=" + fresh_schema())));
}

TEST_CASE("postgresql: a guarded publication happens with its records or not at all") {
  PostgresRig rig;
  auto& broker = rig.broker();
  REQUIRE(broker.publishes_with(rig.store()));
  rig.store().put({{"lock", "me", 10s}});
  const StoreGuard guard{"lock", rig.store().get("lock")->version};
  const auto job = rig.job("a");
  CHECK(broker.publish_guarded({&job, 1}, {guard}, {{"next", "1", {}}}) == 1);
  CHECK(broker.publish_guarded({&job, 1}, {guard}, {{"next", "2", {}}}) == 0);
  CHECK(rig.store().get("next")->value == "2");
  const auto other = rig.job("b");
  CHECK_FALSE(broker.publish_guarded({&other, 1}, {{"lock", guard.version + 1}}, {{"next", "3", {}}}));
  rig.clock.move(10s);
  CHECK_FALSE(broker.publish_guarded({&other, 1}, {guard}, {{"next", "3", {}}}));
  CHECK(rig.store().get("next")->value == "2");
  CHECK_FALSE(broker.find("b"));
  // Nobody takes the lock between the look at it and the commit.
  rig.store().put({{"lock", "me", {}}});
  const auto version = rig.store().get("lock")->version;
  std::atomic<int> published{0};
  std::thread thief([&] {
    const auto own = rig.open();
    own.results->compare_and_set({"lock", "thief", {}}, version);
  });
  for (int i = 0; i < 50; ++i) {
    const auto one = rig.job("n" + std::to_string(i));
    if (broker.publish_guarded({&one, 1}, {{"lock", version}}, {{"count", std::to_string(++published), {}}}))
      continue;
    --published;
    break;
  }
  thief.join();
  CHECK(rig.depth().ready == 1 + published);
  // Also over another connection: the place counts.
  CHECK(broker.publishes_with(*rig.open().results));
  CHECK_FALSE(broker.publishes_with(*PostgresRig().storage.results));
}

TEST_CASE(
    "postgresql: what was published under a guard when the connection broke is published once, wherever it "
    "broke") {
  const auto& server = PostgresServer::shared();
  for (const auto what : {Proxy::Cut::request, Proxy::Cut::answer})
    for (const int conversation : {0, 1}) {  // the guards; the jobs, the records and the commit
      CAPTURE(static_cast<int>(what));
      CAPTURE(conversation);
      Proxy proxy(server);
      const auto schema = fresh_schema();
      ServerRig rig(proxy.url("schema=" + schema)), direct(server, "schema=" + schema);
      direct.store().put({{"guard", "", {}}});
      const StoreGuard guard{"guard", direct.store().get("guard")->version};
      rig.broker().depths();
      proxy.cut(what, conversation);
      const auto job = rig.job("a");
      // The guard does not hold any more once it was done: to try again from the start would find that.
      CHECK(rig.broker().publish_guarded({&job, 1}, {guard}, {{"guard", "taken", {}}}) == 1);
      CHECK(proxy.has_cut());
      CHECK(direct.depth().ready == 1);
      CHECK(direct.store().get("guard")->value == "taken");
      CHECK_FALSE(rig.broker().publish_guarded({&job, 1}, {guard}, {{"guard", "again", {}}}));
    }
}

TEST_CASE("postgresql: of many who guard what is absent one is let through") {
  PostgresRig rig;
  std::atomic<int> through{0};
  std::vector<std::thread> all;
  for (int i = 0; i < 6; ++i)
    all.emplace_back([&, i] {
      const auto own = rig.open();
      through +=
          own.results->put_guarded({{"lock", "me", {}}, {"who", std::to_string(i), {}}}, {{"lock", 0}});
    });
  for (auto& one : all) one.join();
  CHECK(through == 1);
  CHECK(rig.store().get("who"));
  // What guarded, and was not written, is as good as absent, and is swept.
  CHECK(rig.store().put_guarded({}, {{"nothing", 0}}));
  CHECK_FALSE(rig.store().get("nothing"));
  CHECK(rig.store().list("", 10).size() == 2);
  rig.store().put({{"nothing", "something", {}}});
  CHECK_FALSE(rig.store().put_guarded({}, {{"nothing", 0}}));
}

TEST_CASE("postgresql: jobs and results may be in two places, and a settlement is recorded in the other") {
  TempDir dir;
  for (const auto& [jobs, results] : std::vector<std::pair<std::string, std::string>>{
           {PostgresServer::shared().url("schema=" + fresh_schema()),
            RedisServer::shared().url("namespace=mixed")},
           {"sqlite://" + (dir / "stem.db"), PostgresServer::shared().url("schema=" + fresh_schema())}}) {
    CAPTURE(jobs);
    auto config = StorageRig::config_of(jobs);
    config.result_backend_url = results;
    const auto storage = open_storage(config);
    CHECK_FALSE(storage.broker->keeps_records_of(*storage.results));
    CHECK_FALSE(storage.broker->publishes_with(*storage.results));
    Envelope job;
    job.id = "a";
    job.name = "test.task";
    storage.broker->publish({&job, 1});
    storage.results->put({{"result:a", "queued", {}}});
    CHECK(storage.broker->fetch(StorageRig::demand()).size() == 1);
    CHECK(storage.results->get("result:a")->value == "queued");
  }
}
