#include <doctest/doctest.h>

#include <atomic>
#include <set>
#include <stem/error.hpp>
#include <thread>

#include "storage/redis_connection.hpp"
#include "storage/sqlite_database.hpp"
#include "storage/url.hpp"
#include "storage_rig.hpp"

using namespace stem;
using namespace std::chrono_literals;

// What every broker does with messages to everyone who listens.
#define EVERY_BROKER(name) TEST_CASE_TEMPLATE(name, Rig, MemoryRig, SqliteRig, RedisRig, PostgresRig)

namespace {

/// A listener on some channels, which begins now.
struct Ears {
  explicit Ears(Broker& of, std::vector<std::string> channels = {"news"}) : broker(of) {
    for (auto& channel : channels) listening.push_back({std::move(channel)});
    CHECK(hear().empty());
  }
  /// The ids of what was said.
  Ids hear(std::size_t limit = 100) {
    Ids ids;
    for (const auto& said : broker.listen(listening, limit)) ids.push_back(envelope_from_wire(said.wire).id);
    return ids;
  }

  Broker& broker;
  std::vector<Listening> listening;
};

}  // namespace

EVERY_BROKER("broadcast: each listener hears what is said from now on, once, in order, byte for byte") {
  Rig rig;
  auto& broker = rig.broker();
  broker.broadcast("news", rig.job("before"), 60s);
  const auto other = rig.open();
  Ears one(broker), two(*other.broker);
  auto message = rig.job("a");
  message.args = {{"text", "gr\u00fc\u00dfe \"quoted\" \\ \n"}, {"number", 1.5}};
  message.headers = {{"stem-control", "1"}};
  message.meta = {{"stem.expiresAt", "2025-01-02T03:04:05.678Z"}};
  broker.broadcast("news", message, 60s);
  other.broker->broadcast("news", rig.job("b"), 60s);

  const auto heard = broker.listen(one.listening, 100);
  REQUIRE(heard.size() == 2);
  CHECK(heard[0] == Broadcast{"news", to_wire(message)});
  CHECK(envelope_from_wire(heard[1].wire).id == "b");
  CHECK(one.hear().empty());
  CHECK(two.hear() == Ids{"a", "b"});
  CHECK(two.hear().empty());
}

EVERY_BROKER("broadcast: a listener goes on from a position that was kept, in whatever process") {
  Rig rig;
  Ears ears(rig.broker());
  rig.broker().broadcast("news", rig.job("a"), 60s);
  const auto kept = ears.listening;
  CHECK_FALSE(kept.at(0).position.empty());
  CHECK(ears.hear() == Ids{"a"});
  const auto other = rig.open();
  Ears again(*other.broker);
  again.listening = kept;
  CHECK(again.hear() == Ids{"a"});
  CHECK(again.hear().empty());
}

EVERY_BROKER("broadcast: channels are apart, and the limit is of each") {
  Rig rig;
  Ears ears(rig.broker(), {"x", "y", "silent"});
  for (const auto* id : {"x1", "x2", "x3"}) rig.broker().broadcast("x", rig.job(id), 60s);
  rig.broker().broadcast("y", rig.job("y1"), 60s);
  rig.broker().broadcast("z", rig.job("z1"), 60s);
  CHECK(ears.hear(0).empty());
  CHECK(ears.hear(2) == Ids{"x1", "x2", "y1"});
  rig.broker().broadcast("y", rig.job("y2"), 60s);
  CHECK(ears.hear(2) == Ids{"x3", "y2"});
  rig.broker().broadcast("silent", rig.job("s1"), 60s);
  CHECK(ears.hear() == Ids{"s1"});
  CHECK(ears.hear().empty());
  std::vector<Listening> none;
  CHECK(rig.broker().listen(none, 100).empty());
}

EVERY_BROKER(
    "broadcast: what has expired is not heard, and does not keep what was said later from being heard") {
  Rig rig;
  Ears ears(rig.broker()), late(rig.broker());
  rig.broker().broadcast("news", rig.job("short"), 1s);
  rig.broker().broadcast("news", rig.job("long"), 60s);
  CHECK(ears.hear(1) == Ids{"short"});
  rig.clock.move(2s);
  CHECK(late.hear(1) == Ids{"long"});
  rig.clock.move(60s);
  CHECK(ears.hear().empty());
  // By now all that was said is swept.
  rig.broker().broadcast("news", rig.job("new"), 60s);
  CHECK(ears.hear() == Ids{"new"});
  CHECK(late.hear() == Ids{"new"});
}

EVERY_BROKER("broadcast: it is no job") {
  Rig rig;
  Ears ears(rig.broker(), {"default"});
  rig.broker().broadcast("default", rig.job("a"), 60s);
  CHECK(rig.fetch().empty());
  CHECK(rig.broker().depths().empty());
  CHECK_FALSE(rig.broker().find("a"));
  CHECK_FALSE(rig.broker().next_due({"default"}));
  CHECK(rig.enqueue({"a"}) == 1);
  CHECK(ears.hear() == Ids{"a"});
  CHECK(ids(rig.fetch()) == Ids{"a"});
}

EVERY_BROKER("broadcast: it wakes those who sleep, and they are told that it is one") {
  Rig rig;
  const auto other = rig.open();
  auto& sleeper = *other.broker;
  (void)sleeper.wake_fd();
  sleeper.clear_wake();
  REQUIRE_FALSE(readable(sleeper.wake_fd()));
  Ears ears(sleeper);
  rig.broker().broadcast("news", rig.job("a"), 60s);
  CHECK(readable(sleeper.wake_fd(), 1000));
  CHECK(sleeper.clear_wake().broadcasts);
  CHECK_FALSE(readable(sleeper.wake_fd()));
  CHECK(ears.hear() == Ids{"a"});
  rig.enqueue({"job"});
  CHECK(readable(sleeper.wake_fd(), 1000));
  CHECK(sleeper.clear_wake().jobs);
}

EVERY_BROKER("broadcast: what cannot be written is refused, and nobody hears it") {
  Rig rig;
  Ears ears(rig.broker());
  auto bad = rig.job("bad");
  bad.args = {{"text", "\xff"}};
  CHECK_THROWS_AS(rig.broker().broadcast("news", bad, 60s), Error);
  CHECK(ears.hear().empty());
}

EVERY_BROKER("broadcast: of what many say at the same time every listener hears all, and nothing twice") {
  Rig rig;
  constexpr int speakers = 4, each = 40;
  Ears ears(rig.broker());
  std::atomic<bool> failed{false};
  std::vector<std::thread> threads;
  for (int s = 0; s < speakers; ++s)
    threads.emplace_back([&, s] {
      try {
        const auto storage = rig.open();
        for (int i = 0; i < each; ++i)
          storage.broker->broadcast("news", rig.job(std::to_string(s) + "-" + std::to_string(i)), 60s);
      } catch (const Error&) {
        failed = true;
      }
    });
  std::set<std::string> all;
  std::size_t heard = 0;
  const auto listen = [&] {
    for (const auto& id : ears.hear(7)) {
      all.insert(id);
      ++heard;
    }
  };
  while (heard < speakers * each / 2 && !failed) listen();
  for (auto& thread : threads) thread.join();
  for (int i = 0; i < 100; ++i) listen();
  CHECK_FALSE(failed);
  CHECK(heard == speakers * each);
  CHECK(all.size() == speakers * each);
}

TEST_CASE("broadcast: on SQLite what has expired goes when something is said") {
  SqliteRig rig;
  for (int i = 0; i < 50; ++i) rig.broker().broadcast("news", rig.job("old"), 1s);
  rig.clock.move(1s);
  rig.broker().broadcast("other", rig.job("new"), 1s);
  SqliteDatabase database({.path = rig.path()});
  SqliteTransaction reading(database, SqliteAccess::read);
  CHECK(database.number("SELECT count(*) FROM message") == 1);
}

namespace {

RedisConnection connection() {
  const auto url = RedisServer::shared().url();
  return RedisConnection(RedisAddress::from(Url::parse(url)));
}
RedisReply tell(RedisConnection& redis, const RedisCommand& command) {
  std::string bytes;
  command.append_to(bytes);
  redis.send(bytes);
  return redis.receive();
}
std::string space(const RedisRig& rig) {
  return rig.config.broker_url.substr(rig.config.broker_url.find('=') + 1);
}

}  // namespace

TEST_CASE("broadcast: on Redis a channel goes with its last message, and what has expired goes before") {
  RedisRig rig;
  auto redis = connection();
  const auto key = space(rig) + ":broadcast:news";
  rig.broker().broadcast("news", rig.job("a"), 10s);
  rig.broker().broadcast("news", rig.job("b"), 100s);
  rig.broker().broadcast("news", rig.job("c"), 10s);
  const auto left = tell(redis, {"PTTL", key})->number();
  CHECK(left > 50'000);
  CHECK(left <= 100'000);
  rig.clock.move(20s);
  rig.broker().broadcast("news", rig.job("d"), 10s);
  CHECK(tell(redis, {"XLEN", key})->number() == 3);  // c waits for b
  rig.clock.move(100s);
  rig.broker().broadcast("news", rig.job("e"), 10s);
  CHECK(tell(redis, {"XLEN", key})->number() == 1);
}

TEST_CASE("broadcast: on Redis listeners of another make keep their place, and what they say is heard") {
  RedisRig rig;
  auto redis = connection();
  const auto key = space(rig) + ":broadcast:news";
  Ears ears(rig.broker());
  tell(redis, {"XADD",
               key,
               "*",
               "id",
               "theirs",
               "name",
               "t",
               "args",
               "{}",
               "headers",
               "{}",
               "enqueuedAt",
               "",
               "notBefore",
               "",
               "priority",
               "0",
               "attempt",
               "0",
               "maxRetries",
               "0",
               "visibilityTimeout",
               "",
               "queue",
               "news",
               "meta",
               "{}",
               "delivery",
               "at-least-once"});
  CHECK(ears.hear() == Ids{"theirs"});
  tell(redis, {"XGROUP", "CREATE", key, key + ":somebody", "0"});
  rig.broker().broadcast("news", rig.job("ours"), 10s);
  CHECK(tell(redis, {"PTTL", key})->number() == -1);
  const auto read = tell(redis, {"XREADGROUP", "GROUP", key + ":somebody", "me", "STREAMS", key, ">"});
  CHECK((*read)[0][1].size() == 2);
  CHECK(ears.hear() == Ids{"ours"});
}
