#include <doctest/doctest.h>

#include <stem/result.hpp>

#include "cli/dead_letters.hpp"
#include "core/wishes.hpp"
#include "error_of.hpp"
#include "storage_rig.hpp"

using namespace stem;
using namespace stem::cli;
using namespace std::chrono_literals;

#define EVERY_BROKER(name) TEST_CASE_TEMPLATE(name, Rig, MemoryRig, SqliteRig, RedisRig, PostgresRig)

namespace {

/// Dead letters, a second apart: the task of every third is `rare`.
template <class Rig>
void bury(Rig& rig, int count, const std::string& queue = "default") {
  for (int i = 0; i < count; ++i) {
    auto job = rig.job(queue + std::to_string(i), queue);
    job.name = i % 3 == 0 ? "rare" : "usual";
    rig.publish({job});
    const auto leased = rig.broker().fetch(rig.demand(1, {queue}));
    REQUIRE(leased.size() == 1);
    rig.settle(leased[0], DeadLetter{"discarded", {{"why", i}}});
    rig.clock.move(1s);
  }
}

std::vector<std::string> ids_of(const std::vector<DeadJob>& jobs) {
  std::vector<std::string> ids;
  for (const auto& job : jobs) ids.push_back(job.id);
  return ids;
}

PayloadSigner signer(const std::string& key) {
  Config config;
  config.signing.keys = {{"k", key}};
  config.signing.active_key = "k";
  return *PayloadSigner::maybe(config);
}

}  // namespace

EVERY_BROKER("dead letters: filters are joined, the newest come first, a limit takes the newest") {
  Rig rig;
  const auto start = rig.clock.wall();
  bury(rig, 7);
  bury(rig, 2, "mail");
  auto& broker = rig.broker();
  CHECK(ids_of(find_dead(broker, {})) == Ids{"mail1", "mail0", "default6", "default5", "default4", "default3",
                                             "default2", "default1", "default0"});
  CHECK(ids_of(find_dead(broker, {.ids = {}, .queue = "mail", .task = {}, .since = {}, .limit = 0})) ==
        Ids{"mail1", "mail0"});
  CHECK(ids_of(find_dead(broker, {.ids = {}, .queue = "default", .task = "rare", .since = {}, .limit = 0})) ==
        Ids{"default6", "default3", "default0"});
  CHECK(ids_of(find_dead(broker, {.ids = {}, .queue = {}, .task = "rare", .since = {}, .limit = 2})) ==
        Ids{"mail0", "default6"});
  CHECK(ids_of(find_dead(broker,
                         {.ids = {}, .queue = "default", .task = {}, .since = start + 5s, .limit = 0})) ==
        Ids{"default6", "default5"});
  CHECK(find_dead(broker, {.ids = {}, .queue = "none", .task = {}, .since = {}, .limit = 0}).empty());
  CHECK(ids_of(find_dead(broker,
                         {.ids = {"default1", "mail0"}, .queue = {}, .task = {}, .since = {}, .limit = 0})) ==
        Ids{"mail0", "default1"});
  const auto found =
      find_dead(broker, {.ids = {"default3"}, .queue = {}, .task = {}, .since = {}, .limit = 0});
  REQUIRE(found.size() == 1);
  CHECK(found[0].meta["why"] == 3);
  CHECK(found[0].reason == "discarded");
}

EVERY_BROKER("dead letters: one that is looked for by its id is found behind thousands of others") {
  Rig rig;
  std::vector<Envelope> jobs;
  for (int i = 0; i < 1500; ++i) jobs.push_back(rig.job("j" + std::to_string(i)));
  rig.publish(jobs);
  std::vector<Settlement> ends;
  for (const auto& one : rig.fetch(1500))
    ends.push_back({one.receipt, DeadLetter{"discarded", Json::object()}});
  rig.clock.move(1s);
  const auto oldest = ends.front();
  rig.broker().settle({&oldest, 1});
  rig.clock.move(1s);
  rig.broker().settle(std::span(ends).subspan(1));
  CHECK(find_dead(rig.broker(), {.ids = {"j0"}, .queue = {}, .task = {}, .since = {}, .limit = 0}).size() ==
        1);
  CHECK(find_dead(rig.broker(), {}).size() == 1500);
}

EVERY_BROKER("dead letters: an id that is no dead letter's is refused, with what it is instead") {
  Rig rig;
  rig.publish({rig.job("waits"), rig.delayed("later", 1h)});
  const auto refused = [&](const char* id) {
    return error_of(
        [&] { find_dead(rig.broker(), {.ids = {id}, .queue = {}, .task = {}, .since = {}, .limit = 0}); });
  };
  CHECK(refused("none").status == 66);
  CHECK(refused("none").says("no queue holds job 'none'"));
  CHECK(refused("waits").says("job 'waits' is not dead: it waits for a worker"));
  CHECK(refused("later").says("waits for its time"));
  rig.fetch_one();
  CHECK(refused("waits").says("it runs, on rig"));
}

EVERY_BROKER(
    "dead letters: one whose signature would be refused, or that cannot be read, is not for replay") {
  Rig rig;
  const auto mine = signer("0123456789abcdef0123456789abcdef"),
             other = signer("fedcba9876543210fedcba9876543210");
  auto good = rig.job("good"), foreign = rig.job("foreign");
  mine.sign(good);
  other.sign(foreign);
  rig.publish({good, foreign, rig.job("unsigned")});
  for (const auto& one : rig.fetch()) rig.settle(one, DeadLetter{"signature-invalid", Json::object()});
  const auto now = rig.clock.wall();
  for (auto& job : find_dead(rig.broker(), {})) {
    CAPTURE(job.id);
    CHECK_FALSE(replay_fault(job, nullptr, now));
    const auto fault = replay_fault(job, &mine, now);
    CHECK(fault.has_value() == (job.id != "good"));
    if (fault) CHECK(fault->starts_with("its signature would be refused: "));
    job.wire = "no JSON";
    CHECK(replay_fault(job, nullptr, now)->starts_with("it cannot be read: "));
  }
}

TEST_CASE("dead letters: since is a duration back from now, or a time") {
  const auto now = parse_time("2025-01-02T12:00:00Z");
  CHECK(since_from("2h", now) == now - 2h);
  CHECK(since_from("2025-01-01T00:00:00Z", now) == parse_time("2025-01-01T00:00:00Z"));
  CHECK(error_of([&] { since_from("yesterday", now); }).status == 64);
}

TEST_CASE("dead letters: what a job holds cannot reach the terminal as it is") {
  DeadJob job;
  job.id = "a\x1b[31m";
  job.queue = "q";
  job.wire = "no JSON";
  job.reason = "b\nc";
  const auto table = dead_table({job}, job.dead_at + 90s);
  CHECK(table.find('\x1b') == std::string::npos);
  CHECK(std::count(table.begin(), table.end(), '\n') == 2);
  CHECK(table.find("1m 30s ago") != std::string::npos);
  CHECK(to_json(job, true)["envelope"] == "no JSON");
  CHECK(to_json(job, false)["task"].is_null());
}

EVERY_BROKER("dead letters: one whose expiry has passed is not for replay") {
  Rig rig;
  auto job = rig.job("late");
  put_wishes(job, {.expires = rig.clock.wall() + 1h});
  rig.publish({job});
  rig.settle(rig.fetch_one(), DeadLetter{"x", Json::object()});
  const auto dead = find_dead(rig.broker(), {}).at(0);
  CHECK_FALSE(replay_fault(dead, nullptr, rig.clock.wall()));
  rig.clock.move(1h);
  const auto fault = replay_fault(dead, nullptr, rig.clock.wall());
  REQUIRE(fault);
  CHECK(fault->starts_with("it was to begin by "));
}

EVERY_BROKER("dead letters: who replays throws away what says that the jobs have failed, and nothing else") {
  Rig rig;
  Result failed{"a", TaskState::failed, nullptr, Failure{"x", "y"}, 0, nullptr};
  Result done{"b", TaskState::succeeded, 1, std::nullopt, 0, nullptr};
  const std::vector<StoreWrite> records{
      {"result:a", to_wire(failed), {}}, {"result:b", to_wire(done), {}}, {"result:c", "torn", {}}};
  rig.store().put(records);
  const std::vector<std::string> ids{"a", "b", "c", "d"};
  forget_failures(rig.store(), ids);
  rig.clock.move(1ms);
  CHECK_FALSE(rig.store().get("result:a"));
  CHECK(rig.store().get("result:b"));
  CHECK(rig.store().get("result:c"));
  forget_failures(rig.store(), ids);
}
