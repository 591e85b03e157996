#include <doctest/doctest.h>

#include <atomic>
#include <future>
#include <set>
#include <thread>

#include "child_process.hpp"
#include "error_of.hpp"
#include "failing_server.hpp"
#include "storage/redis_address.hpp"
#include "storage/redis_connection.hpp"
#include "storage_rig.hpp"

using namespace stem;
using namespace std::chrono_literals;
using State = JobView::State;

// What is Redis' own: addresses, error replies, what lies under the keys, and a server that fails.

namespace {

RedisAddress address(const std::string& url) {
  return RedisAddress::from(Url::parse(url));
}

/// A client that says what it likes.
std::vector<RedisReply> tell(const RedisServer& server, std::vector<RedisCommand> commands,
                             const std::string& credentials = {}) {
  RedisConnection connection(address(server.url({}, credentials)));
  std::vector<RedisReply> replies;
  for (const auto& command : commands) {
    std::string bytes;
    command.append_to(bytes);
    connection.send(bytes);
    replies.push_back(connection.receive());
  }
  return replies;
}

bool has_listener(const RedisServer& server) {
  return tell(server, {{"PUBSUB", "NUMSUB", "stem:wake:jobs:0"}})[0]->elements.at(1)->number() == 1;
}

struct ServerRig : StorageRig {
  explicit ServerRig(const RedisServer& server, const std::string& parameters = {},
                     const std::string& credentials = {})
      : StorageRig(server.url(parameters, credentials)) {}
};

Failed publishing(StorageRig& rig, const std::string& id = "a") {
  return error_of([&] { rig.enqueue({id}); });
}

const std::vector<std::string> durable{"--appendonly", "yes", "--appendfsync", "always"};

}  // namespace

TEST_CASE("redis: an address names host, port, database, user, password, socket and namespace") {
  auto one = address("redis://");
  CHECK(one.host == "localhost");
  CHECK(one.port == "6379");
  CHECK(one.database == 0);
  CHECK(one.password.empty());
  one = address("redis://ann:p%40ss%3Aw%2Frd@cache.example:7000/3?timeout=250ms&namespace=shop");
  CHECK(one.host == "cache.example");
  CHECK(one.port == "7000");
  CHECK(one.database == 3);
  CHECK(one.user == "ann");
  CHECK(one.password == "p@ss:w/rd");
  CHECK(one.timeout == 250ms);
  CHECK(one.name_space == "shop");
  CHECK(one.shown() == "redis://cache.example:7000");
  CHECK(address("redis://:secret@h").user.empty());
  CHECK(address("redis://:secret@h").password == "secret");
  CHECK(address("redis://secret@h").password == "secret");
  CHECK(address("redis://u:a:b@h").password == "a:b");
  one = address("redis://[::1]:7000/");
  CHECK(one.host == "::1");
  CHECK(one.port == "7000");
  CHECK(one.shown() == "redis://[::1]:7000");
  CHECK_FALSE(one.secure);
  one = address("rediss://:secret@cache.example");
  CHECK(one.secure);
  CHECK(one.port == "6379");
  CHECK(one.shown() == "rediss://cache.example:6379");
  one = address("redis+socket://ann:secret@/run/re%20dis/a@b.sock?db=2");
  CHECK(one.path == "/run/re dis/a@b.sock");
  CHECK(one.database == 2);
  CHECK(one.user == "ann");
  CHECK(one.shown() == "redis+socket:///run/re dis/a@b.sock");
}

TEST_CASE("redis: an address that means nothing is refused without repeating what may be a password") {
  for (const auto* bad :
       {"redis://h:0", "redis://h:65536", "redis://h:hunter2", "redis://h/hunter2", "redis://h/-1",
        "redis://h/0/hunter2", "redis://[::1", "redis://[::1]hunter2", "redis://hunter2:@h",
        "redis://h?hunter2=1", "redis://h?timeout=hunter2", "redis://h?timeout=11s", "redis://h?timeout=0s",
        "redis://h?namespace=a:b", "redis://h?namespace=", "redis://h?db=1", "redis+socket://run/redis.sock",
        "redis+socket:///x?db=hunter2", "rediss://h:hunter2"}) {
    CAPTURE(bad);
    const auto failed = error_of([&] { address(bad); });
    CAPTURE(failed.message);
    CHECK(failed.status == 78);
    CHECK(failed.is_one_line());
    const bool repeats_a_name = std::string(bad).find("?hunter2=") != std::string::npos;
    CHECK(failed.says("hunter2") == repeats_a_name);
  }
  CHECK(error_of([&] { address("redis+socket:///" + std::string(120, 'x')); }).status == 0);
  CHECK(error_of([&] { StorageRig("redis+socket:///" + std::string(120, 'x')).enqueue({"a"}); }).status ==
        78);
}

TEST_CASE("redis: each refusal of the server has one message and its exit status") {
  const auto said = [](const char* reply) {
    const auto error = redis_error("Redis at redis://h:6379", reply);
    CHECK(Failed{static_cast<int>(error.code()), error.what()}.is_one_line());
    return std::pair(static_cast<int>(error.code()), std::string(error.what()));
  };
  for (const auto& [reply, status, part] : std::vector<std::tuple<const char*, int, const char*>>{
           {"LOADING Redis is loading the dataset in memory", 69, "still loading"},
           {"MOVED 3999 127.0.0.1:6381", 78, "Redis Cluster"},
           {"OOM command not allowed when used memory > 'maxmemory'.", 73, "maxmemory"},
           {"ERR Error running script (call to f_1): @user_script:3: -OOM command not allowed", 73,
            "maxmemory"},
           {"NOAUTH Authentication required.", 77, "asks for a password"},
           {"WRONGPASS invalid username-password pair or user is disabled.", 77,
            "refuses the user or the password"},
           {"NOPERM this user has no permissions", 77, "NOPERM"},
           {"DENIED Redis is running in protected mode because protected mode is enabled", 77,
            "protected mode"},
           {"READONLY You can't write against a read only replica.", 69, "read-only replica"},
           {"MASTERDOWN Link with MASTER is down", 69, "lost its primary"},
           {"MISCONF Redis is configured to save RDB snapshots", 73, "disk"},
           {"BUSY Redis is busy running a script", 75, "busy"},
           {"NOREPLICAS Not enough good replicas to write.", 75, "replicas"},
           {"ERR max number of clients reached", 69, "maxclients"},
           {"ERR DB index is out of range", 78, "no database"},
           {"ERR unknown command 'XADD'", 78, "6.2"},
           {"WRONGTYPE Operation against a key", 65, "namespace"},
           {"ERR something\r\nelse", 70, "something"}}) {
    CAPTURE(reply);
    CHECK(said(reply).first == status);
    CHECK(said(reply).second.find(part) != std::string::npos);
  }
}

TEST_CASE(
    "redis: a real server's refusals: password missing, wrong, right; no such database; out of memory; a "
    "replica") {
  const RedisServer server({"--requirepass", "hunter2"});
  const auto failure = [&](const std::string& credentials, const std::string& parameters = {}) {
    return error_of([&] { ServerRig(server, parameters, credentials).enqueue({"a"}); });
  };
  CHECK(failure("").status == 77);
  CHECK(failure("").says("asks for a password"));
  CHECK(failure(":wrong@").status == 77);
  CHECK_FALSE(failure(":wrong@").says("wrong"));
  CHECK(failure("nobody:hunter2@").status == 77);
  CHECK(failure("default:hunter2@").status == 0);
  CHECK(failure(":hunter2@", "db=99").status == 78);
  ServerRig rig(server, "db=1", ":hunter2@");
  CHECK(publishing(rig, "b").status == 0);

  tell(server, {{"CONFIG", "SET", "maxmemory", "1"}}, ":hunter2@");
  const auto full = publishing(rig, "c");
  CHECK(full.status == 73);
  CHECK(full.says("maxmemory"));
  tell(server, {{"CONFIG", "SET", "maxmemory", "0"}, {"REPLICAOF", "127.0.0.1", "1"}}, ":hunter2@");
  CHECK(publishing(rig, "c").status == 69);
  CHECK(publishing(rig, "c").says("read-only replica"));
  tell(server, {{"REPLICAOF", "NO", "ONE"}}, ":hunter2@");
  CHECK(publishing(rig, "c").status == 0);
  CHECK(ids(rig.fetch()) == Ids{"b", "c"});
}

TEST_CASE("redis: a server that is not there is unreachable, and one that speaks something else is told") {
  TempDir dir;
  StorageRig rig("redis+socket://" + (dir / "none.sock"));
  const auto failed = publishing(rig);
  CHECK(failed.status == 69);
  CHECK(failed.says("cannot reach Redis at redis+socket://"));
  CHECK(error_of([&] { StorageRig("redis://127.0.0.1:1").enqueue({"a"}); }).status == 69);
  CHECK(error_of([&] { StorageRig("redis://no-such-host.invalid").enqueue({"a"}); }).status == 69);
  RedisReader reader;
  reader.feed("HTTP/1.1 400 Bad Request\r\n", 26);
  CHECK(error_of([&] { reader.next(); }).status == 69);
}

TEST_CASE("redis: a queue whose streams would be another's is refused") {
  RedisRig rig;
  CHECK(error_of([&] { rig.publish({rig.job("a", "mail:p5")}); }).status == 64);
  CHECK(error_of([&] { rig.broker().fetch(RedisRig::demand(1, {"mail:p5"})); }).status == 64);
  CHECK(rig.publish({rig.job("a", "mail:p0"), rig.job("b", "mail:px"), rig.job("c", "mail")}) == 3);
}

TEST_CASE("redis: a job lies in the stream of its priority under the fields of the envelope") {
  RedisRig rig;
  auto job = rig.job("a", "mail", 7);
  job.args = {{"n", 1}};
  job.visibility_timeout = 90s;
  rig.publish({job});
  const auto space = rig.config.broker_url.substr(rig.config.broker_url.find('=') + 1);
  const auto replies = tell(RedisServer::shared(), {{"XRANGE", space + ":stream:mail:p7", "-", "+"},
                                                    {"EXISTS", space + ":stream:mail"}});
  REQUIRE(replies[0]->size() == 1);
  const auto& words = (*replies[0])[0][1];
  std::map<std::string, std::string> fields;
  for (std::size_t i = 0; i + 1 < words.size(); i += 2)
    fields[std::string(words[i].text)] = words[i + 1].text;
  CHECK(fields.at("since") == std::to_string(rig.clock.wall().time_since_epoch().count()));
  fields.erase("since");
  CHECK(fields == std::map<std::string, std::string>{{"id", "a"},
                                                     {"name", "test.task"},
                                                     {"args", R"({"n":1})"},
                                                     {"headers", "{}"},
                                                     {"enqueuedAt", format_time(rig.clock.wall())},
                                                     {"notBefore", ""},
                                                     {"priority", "7"},
                                                     {"attempt", "0"},
                                                     {"maxRetries", "0"},
                                                     {"visibilityTimeout", "90000"},
                                                     {"queue", "mail"},
                                                     {"meta", "{}"}});
  CHECK(replies[1]->number() == 0);
}

TEST_CASE(
    "redis: jobs of producers of another make are run, retried and ended, ready ones and delayed ones") {
  RedisRig rig;
  const auto space = rig.config.broker_url.substr(rig.config.broker_url.find('=') + 1);
  tell(RedisServer::shared(),
       {{"XADD",
         space + ":stream:default",
         "*",
         "queue",
         "default",
         "name",
         "other.task",
         "id",
         "x1",
         "args",
         R"({ "a": 1.0 })",
         "headers",
         "{}",
         "enqueuedAt",
         "2025-01-02T02:50:45.000Z",
         "notBefore",
         "",
         "priority",
         "0",
         "attempt",
         "2",
         "maxRetries",
         "3",
         "visibilityTimeout",
         "60000",
         "meta",
         "{}"},
        {"ZADD", space + ":delayed:default", "1735786245500",
         R"({"id":"x2","name":"other.task","args":{},"priority":4,"queue":"default"})"},
        {"ZADD", space + ":delayed:default", "1735786245500", "no envelope"}});
  const auto first = rig.fetch_one();
  CHECK(first.id == "x1");
  CHECK(first.attempt == 2);
  CHECK(envelope_from_wire(first.wire).args == Json{{"a", 1.0}});
  CHECK(rig.settle(first, RetryAt{rig.clock.wall() + 100ms}));
  CHECK(rig.broker().find("x1")->attempt == 3);
  rig.clock.move(500ms);
  const auto rest = rig.fetch();
  REQUIRE(rest.size() == 3);
  CHECK(rest[0].id == "x2");
  CHECK(rest[1].id == "x1");
  CHECK(rest[1].attempt == 3);
  CHECK(rest[2].wire == "no envelope");
  for (const auto& delivery : rest) CHECK(rig.settle(delivery, DeadLetter{"enough"}));
  CHECK(rig.broker().dead_letters("", 10).size() == 3);
  CHECK(rig.broker().find("x1")->wire == rest[1].wire);
  CHECK(rig.broker().replay(Ids{"x1", rest[2].id}) == 1);  // what is no envelope would only die again
}

TEST_CASE("redis: an id whose job was ended by a worker of another make is free") {
  RedisRig rig;
  const auto space = rig.config.broker_url.substr(rig.config.broker_url.find('=') + 1);
  rig.enqueue({"a"});
  const auto stream = space + ":stream:default", group = space + ":group:default";
  const auto read =
      tell(RedisServer::shared(), {{"XGROUP", "CREATE", stream, group, "0"},
                                   {"XREADGROUP", "GROUP", group, "other", "STREAMS", stream, ">"}});
  CHECK(rig.enqueue({"a"}) == 0);
  const std::string entry((*read[1])[0][1][0][0].text);
  tell(RedisServer::shared(), {{"XACK", stream, group, entry}});
  CHECK_FALSE(rig.broker().find("a"));
  CHECK(rig.enqueue({"a"}) == 1);
}

TEST_CASE(
    "redis: entries that have ended, but were left in their stream, are deleted by idle workers and by "
    "nobody run") {
  RedisRig rig;
  const auto space = rig.config.broker_url.substr(rig.config.broker_url.find('=') + 1);
  const auto stream = space + ":stream:default", group = space + ":group:default";
  rig.enqueue({"leased"});
  const auto leased = rig.fetch_one();
  tell(RedisServer::shared(),
       {{"XADD", stream, "*", "id", "ended", "name", "test.task"}, {"XGROUP", "SETID", stream, group, "$"}});
  CHECK(rig.depth().ready == 1);  // cannot be told apart from one that waits, but by looking at each
  CHECK(rig.fetch().empty());
  CHECK(rig.depth().ready == 0);
  CHECK(rig.depth().leased == 1);
  CHECK((*tell(RedisServer::shared(), {{"XLEN", stream}})[0]).number() == 1);
  CHECK(rig.settle(leased, Ack{}));
  CHECK(rig.broker().depths().empty());
}

TEST_CASE("redis: scripts that the server has forgotten are told again") {
  RedisServer server;
  ServerRig rig(server);
  rig.enqueue({"a"});
  tell(server, {{"SCRIPT", "FLUSH"}});
  rig.enqueue({"b"});
  auto later = rig.delayed("c", 1s);
  rig.publish({later});
  rig.clock.move(1s);
  tell(server, {{"SCRIPT", "FLUSH"}});
  CHECK(ids(rig.fetch()) == Ids{"a", "b", "c"});
}

TEST_CASE("redis: nothing is left under the namespace's keys when all jobs are done") {
  RedisRig rig;
  auto dying = rig.job("dies");
  rig.publish({rig.job("a"), rig.delayed("b", 1s), dying});
  rig.settle(rig.fetch_one(), RetryAt{rig.clock.wall() + 1s});
  rig.settle(rig.fetch_one(), DeadLetter{"no"});
  rig.clock.move(2s);
  for (const auto& delivery : rig.fetch()) rig.settle(delivery, Ack{});
  rig.broker().purge(Ids{"dies"});
  const auto space = rig.config.broker_url.substr(rig.config.broker_url.find('=') + 1);
  const auto replies =
      tell(RedisServer::shared(), {{"KEYS", space + ":*"}, {"XLEN", space + ":stream:default"}});
  std::set<std::string> left;
  for (const auto* key : replies[0]->elements) left.emplace(key->text);
  CHECK(left == std::set<std::string>{space + ":queues", space + ":stream:default"});
  CHECK(replies[1]->number() == 0);
}

TEST_CASE("redis: a server that is stopped does not answer in time; when it goes on, so does the broker") {
  RedisServer server;
  ServerRig rig(server, "timeout=200ms");
  rig.enqueue({"a"});
  server.signal(SIGSTOP);
  const auto failed = publishing(rig, "b");
  CHECK(failed.status == 69);
  CHECK(failed.says("no answer within 200ms"));
  CHECK(publishing(rig, "c").status == 69);
  server.signal(SIGCONT);
  CHECK(eventually([&] { return publishing(rig, "c").status == 0; }));
  // What was sent before the server stopped may have been done since: at least once, never lost in silence.
  const auto found = ids(rig.fetch());
  CHECK(std::count(found.begin(), found.end(), "a") == 1);
  CHECK(std::count(found.begin(), found.end(), "c") == 1);
}

TEST_CASE("redis: a waiting worker and a waiting client outlive a restart of the server") {
  RedisServer server(durable);
  ServerRig rig(server);
  wait_through_a_restart(server, rig, [&] { return has_listener(server); });
}

TEST_CASE("redis: whoever waits before the server is there hears of jobs once it is") {
  RedisServer server(durable);
  server.stop(SIGKILL);
  ServerRig rig(server);
  wait_for_the_first_start(server, rig, [&] { return has_listener(server); });
}

TEST_CASE(
    "redis: a server that is killed and restarted under load loses no job and gives no result without its "
    "job") {
  RedisServer server(durable);
  const auto told = restart_under_load(server, StorageRig::config_of(server.url("timeout=2s")), 500ms,
                                       {SIGKILL, SIGKILL, SIGKILL, SIGKILL});
  CHECK(told.failures > 0);
  CHECK(told.published.size() > 80);
  CHECK(told.recorded == told.published);
}

TEST_CASE("redis: what a killed worker held is taken over when its lease has ended") {
  take_over_from_a_killed_worker(StorageRig::config_of(RedisServer::shared().url("namespace=killed")));
}

TEST_CASE("redis: one address for both keeps records with the ack; two databases do not") {
  auto config = StorageRig::config_of(RedisServer::shared().url("namespace=both"));
  // Also over another connection: the place counts.
  CHECK(open_storage(config).broker->keeps_records_of(*open_storage(config).results));
  auto storage = open_storage(config);
  CHECK(storage.broker->keeps_records_of(*storage.results));
  config.result_backend_url = RedisServer::shared().url("namespace=both&db=1");
  storage = open_storage(config);
  CHECK_FALSE(storage.broker->keeps_records_of(*storage.results));
  storage.results->put({{"a", "1", {}}});
  config.result_backend_url.clear();
  CHECK_FALSE(open_storage(config).results->get("a"));
}
