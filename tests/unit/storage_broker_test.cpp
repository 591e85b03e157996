#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <set>
#include <stem/error.hpp>

#include "storage_rig.hpp"

using namespace stem;
using namespace std::chrono_literals;
using State = JobView::State;

// What every broker does, whatever it stands on.
#define EVERY_BROKER(name) TEST_CASE_TEMPLATE(name, Rig, MemoryRig, SqliteRig, RedisRig, PostgresRig)

EVERY_BROKER("broker: a published job is delivered once, byte for byte, and gone when acknowledged") {
  Rig rig;
  auto job = rig.job("one");
  job.args = {{"text", "gr\u00fc\u00dfe \"quoted\" \\ \n"}, {"number", 1.5}};
  CHECK(rig.publish({job}) == 1);

  const auto delivery = rig.fetch_one();
  CHECK(delivery.id == "one");
  CHECK(delivery.queue == "default");
  CHECK(delivery.wire == to_wire(job));
  CHECK(delivery.attempt == 0);
  CHECK(delivery.deliveries == 1);
  CHECK(rig.fetch().empty());
  CHECK(rig.settle(delivery, Ack{}));
  CHECK_FALSE(rig.broker().find("one"));
  CHECK(rig.broker().depths().empty());
}

EVERY_BROKER("broker: publishing nothing and asking for nothing is nothing") {
  Rig rig;
  CHECK(rig.publish({}) == 0);
  CHECK(rig.fetch().empty());
  rig.enqueue({"a"});
  CHECK(rig.fetch(0).empty());
  CHECK(rig.broker().fetch(Rig::demand(10, {})).empty());
  CHECK(rig.broker().fetch(Rig::demand(10, {"never-used"})).empty());
  CHECK(rig.broker().settle({}).empty());
  CHECK(rig.broker().renew({}, 30s).empty());
}

EVERY_BROKER("broker: jobs of one priority come in the order in which they were published") {
  Rig rig;
  rig.enqueue({"a", "b"});
  rig.enqueue({"c"});
  CHECK(ids(rig.fetch(2)) == Ids{"a", "b"});
  CHECK(ids(rig.fetch(2)) == Ids{"c"});
}

EVERY_BROKER("broker: priority goes before age") {
  Rig rig;
  rig.publish({rig.job("p0", "default", 0), rig.job("p5", "default", 5), rig.job("p9", "default", 9),
               rig.job("p9-later", "default", 9)});
  CHECK(ids(rig.fetch()) == Ids{"p9", "p9-later", "p5", "p0"});
}

EVERY_BROKER("broker: among equal priorities the queue that is named first goes first") {
  Rig rig;
  rig.publish(
      {rig.job("low-a", "a"), rig.job("low-b", "b"), rig.job("high-b", "b", 7), rig.job("elsewhere", "c")});
  CHECK(ids(rig.broker().fetch(Rig::demand(10, {"b", "a"}))) == Ids{"high-b", "low-b", "low-a"});
}

EVERY_BROKER("broker: a queue that is named twice gives each job once") {
  Rig rig;
  rig.enqueue({"a", "b", "c"});
  CHECK(ids(rig.broker().fetch(Rig::demand(10, {"default", "default"}))) == Ids{"a", "b", "c"});
}

EVERY_BROKER("broker: a priority out of bounds is refused, and nothing of the batch is kept") {
  Rig rig;
  CHECK_THROWS_WITH_AS(rig.publish({rig.job("fine"), rig.job("bad", "default", 10)}),
                       "priority must be 0 to 9, not 10", Error);
  CHECK_THROWS_AS(rig.publish({rig.job("bad", "default", -1)}), Error);
  CHECK(rig.fetch().empty());
}

EVERY_BROKER(
    "broker: an id that is held is published once, whether it waits or is leased; after the ack it is free") {
  Rig rig;
  CHECK(rig.enqueue({"a", "a"}) == 1);
  CHECK(rig.enqueue({"a"}) == 0);
  auto delivery = rig.fetch_one();
  CHECK(rig.enqueue({"a", "b"}) == 1);
  rig.settle(delivery, RetryAt{rig.clock.wall() + 1s});
  CHECK(rig.enqueue({"a"}) == 0);
  rig.clock.move(1s);
  delivery = rig.fetch_one();
  CHECK(delivery.id == "b");
  delivery = rig.fetch_one();
  CHECK(delivery.id == "a");
  rig.settle(delivery, Ack{});
  CHECK(rig.enqueue({"a"}) == 1);
}

EVERY_BROKER("broker: a dead letter is replaced by a job that is published under its id") {
  Rig rig;
  auto old = rig.job("a", "old", 3);
  old.attempt = 2;
  rig.publish({old, rig.job("b"), rig.job("c")});
  for (const auto& delivery : rig.broker().fetch(Rig::demand(10, {"old", "default"})))
    CHECK(rig.settle(delivery, DeadLetter{"broken"}));

  auto anew = rig.job("a");
  anew.args = {"new"};
  auto later = rig.delayed("b", 10s);
  CHECK(rig.publish({rig.job("d"), anew, later, anew}) == 3);
  CHECK(rig.publish({anew, later}) == 0);
  CHECK(rig.broker().dead_letters("", 10).size() == 1);
  CHECK(rig.broker().dead_letters("", 10).at(0).id == "c");
  CHECK(rig.broker().find("b")->state == State::delayed);
  const auto ready = rig.broker().fetch(Rig::demand(10, {"old", "default"}));
  CHECK(ids(ready) == Ids{"d", "a"});
  CHECK(ready.at(1).wire == to_wire(anew));
  CHECK(ready.at(1).attempt == 0);
  CHECK(ready.at(1).deliveries == 1);
  // A job that dies where another was purged is told with its own reason.
  CHECK(rig.settle(ready.at(1), DeadLetter{"broken again"}));
  CHECK(rig.broker().dead_letters("", 1).at(0).reason == "broken again");
  CHECK(rig.broker().purge(Ids{"a", "c"}) == 2);
  CHECK(rig.broker().dead_letters("", 10).empty());
}

EVERY_BROKER("broker: an envelope that was tried before it was published keeps its attempts") {
  Rig rig;
  auto job = rig.job("a");
  job.attempt = 2;
  rig.publish({job});
  CHECK(rig.fetch_one().attempt == 2);
}

EVERY_BROKER("broker: a delayed job is delivered when its time has come, not before, by priority") {
  Rig rig;
  auto urgent = rig.delayed("urgent", 20s);
  urgent.priority = 9;
  rig.publish({rig.delayed("soon", 10s), urgent, rig.delayed("past", -5s)});
  CHECK(ids(rig.fetch()) == Ids{"past"});
  CHECK(rig.broker().find("soon")->state == State::delayed);
  rig.clock.move(10s - 1us);
  CHECK(rig.fetch().empty());
  rig.clock.move(1us);
  CHECK(rig.broker().find("soon")->state == State::ready);
  rig.clock.move(10s);
  CHECK(ids(rig.fetch()) == Ids{"urgent", "soon"});
}

EVERY_BROKER("broker: of many delayed jobs that are due at once none is left behind") {
  Rig rig;
  std::vector<Envelope> jobs;
  for (int i = 0; i < 1000; ++i) jobs.push_back(rig.delayed("job-" + std::to_string(i), 1s));
  rig.publish(jobs);
  rig.clock.move(1s);
  std::set<std::string> seen;
  for (auto batch = rig.fetch(300); !batch.empty(); batch = rig.fetch(300))
    for (const auto& delivery : batch) CHECK(seen.insert(delivery.id).second);
  CHECK(seen.size() == 1000);
}

EVERY_BROKER("broker: a lease that is not renewed ends, and the job is handed out again, counted") {
  Rig rig;
  rig.enqueue({"a"});
  const auto first = rig.fetch_one();
  rig.clock.move(30s - 1us);
  CHECK(rig.fetch().empty());
  rig.clock.move(1us);
  CHECK(rig.broker().find("a")->state == State::ready);
  const auto second = rig.fetch_one();
  CHECK(second.deliveries == 2);
  CHECK(second.attempt == 0);
  CHECK(second.receipt != first.receipt);
  rig.clock.move(30s);
  CHECK(rig.fetch_one().deliveries == 3);
}

EVERY_BROKER(
    "broker: a lease that was taken over cannot be settled or renewed, and its record is not written") {
  Rig rig;
  rig.enqueue({"a"});
  const auto late = rig.fetch_one();
  rig.clock.move(31s);
  const auto current = rig.fetch_one();

  const std::vector<Disposition> ways{Ack{}, RetryAt{rig.clock.wall()}, DeadLetter{"x"},
                                      Release{rig.clock.wall()}, Release{rig.clock.wall() + 5s}};
  for (const auto& way : ways) CHECK_FALSE(rig.settle(late, way, StoreWrite{"result:a", "late", {}}));
  CHECK(rig.broker().renew({{late.receipt}}, 1h) == std::vector{late.receipt});
  CHECK_FALSE(rig.store().get("result:a"));
  CHECK(rig.broker().find("a")->state == State::leased);
  CHECK(rig.broker().find("a")->due == rig.clock.wall() + 30s);
  CHECK(rig.settle(current, Ack{}, StoreWrite{"result:a", "current", {}}));
  CHECK(rig.store().get("result:a")->value == "current");
}

EVERY_BROKER("broker: a lease that has ended but was not taken over can still be settled and renewed") {
  Rig rig;
  rig.enqueue({"a", "b"});
  const auto both = rig.fetch();
  rig.clock.move(1h);
  CHECK(rig.broker().renew({{both[0].receipt}}, 30s).empty());
  CHECK(rig.settle(both[1], Ack{}));
  CHECK(rig.fetch().empty());
  CHECK(rig.broker().find("a")->due == rig.clock.wall() + 30s);
}

EVERY_BROKER("broker: a job is settled once, also within one batch") {
  Rig rig;
  rig.enqueue({"a", "b", "c"});
  const auto all = rig.fetch();
  const std::vector<Settlement> twice{{all[0].receipt, Ack{}, StoreWrite{"a", "1", {}}},
                                      {all[1].receipt, Ack{}, std::nullopt},
                                      {all[0].receipt, Ack{}, StoreWrite{"a", "2", {}}},
                                      {all[2].receipt, RetryAt{rig.clock.wall()}, std::nullopt}};
  CHECK(rig.broker().settle(twice) == std::vector{all[0].receipt});
  CHECK(rig.store().get("a")->value == "1");
  for (const auto& delivery : all) CHECK_FALSE(rig.settle(delivery, Ack{}));
  CHECK(ids(rig.fetch()) == Ids{"c"});
}

EVERY_BROKER("broker: of a batch that was settled in part, each settled job is lost and each other is not") {
  Rig rig;
  rig.enqueue({"a", "b", "c", "d"});
  const auto all = rig.fetch();
  rig.settle(all[1], Ack{});
  std::vector<Settlement> settlements;
  for (const auto& delivery : all)
    settlements.push_back({delivery.receipt, Ack{}, StoreWrite{delivery.id, "v", {}}});
  CHECK(rig.broker().settle(settlements) == std::vector{all[1].receipt});
  CHECK_FALSE(rig.store().get("b"));
  for (const auto* id : {"a", "c", "d"}) CHECK(rig.store().get(id));
  CHECK(rig.broker().depths().empty());
}

EVERY_BROKER("broker: receipts that never were are lost") {
  Rig rig;
  rig.enqueue({"a"});
  const auto delivery = rig.fetch_one();
  const Receipt forged{.job = delivery.receipt.job, .token = delivery.receipt.token + 1};
  const Receipt nowhere{.job = 1, .token = 1};
  const std::vector<Settlement> settlements{{forged, Ack{}, std::nullopt}, {nowhere, Ack{}, std::nullopt}};
  CHECK(rig.broker().settle(settlements).size() == 2);
  CHECK(rig.broker().renew({{forged, nowhere}}, 1s).size() == 2);
  CHECK(rig.settle(delivery, Ack{}));
}

EVERY_BROKER("broker: a retry counts the attempt and waits for its time") {
  Rig rig;
  rig.enqueue({"a"});
  CHECK(rig.settle(rig.fetch_one(), RetryAt{rig.clock.wall() + 10s}));
  CHECK(rig.fetch().empty());
  const auto view = rig.broker().find("a");
  CHECK(view->state == State::delayed);
  CHECK(view->attempt == 1);
  CHECK(view->due == rig.clock.wall() + 10s);
  rig.clock.move(10s);
  const auto again = rig.fetch_one();
  CHECK(again.attempt == 1);
  CHECK(rig.settle(again, RetryAt{rig.clock.wall()}));
  CHECK(rig.fetch_one().attempt == 2);
}

EVERY_BROKER("broker: a retry that is due at once goes behind the others") {
  Rig rig;
  rig.enqueue({"a", "b"});
  rig.settle(rig.fetch_one(), RetryAt{rig.clock.wall()});
  CHECK(ids(rig.fetch()) == Ids{"b", "a"});
}

EVERY_BROKER("broker: a released job keeps its place and its attempts") {
  Rig rig;
  rig.enqueue({"a", "b", "c", "d", "e"});
  const auto leased = rig.fetch(4);
  CHECK(rig.settle(leased[1], Release{rig.clock.wall()}));
  CHECK(rig.settle(leased[2], Release{rig.clock.wall()}));
  const auto again = rig.fetch();
  CHECK(ids(again) == Ids{"b", "c", "e"});
  CHECK(again[0].attempt == 0);
  for (const auto& delivery : {leased[0], leased[3], again[0], again[1], again[2]})
    CHECK(rig.settle(delivery, Ack{}));
  CHECK(rig.broker().depths().empty());
}

EVERY_BROKER("broker: a released job may come back later") {
  Rig rig;
  rig.enqueue({"a"});
  rig.settle(rig.fetch_one(), Release{rig.clock.wall() + 1min});
  CHECK(rig.fetch().empty());
  rig.clock.move(1min);
  CHECK(rig.fetch_one().attempt == 0);
}

EVERY_BROKER("broker: a job that is released for later goes behind the others of its priority") {
  Rig rig;
  rig.publish({rig.job("a"), rig.job("b"), rig.job("low")});
  rig.settle(rig.fetch_one(), Release{rig.clock.wall() + 100ms});
  rig.enqueue({"c"});
  rig.clock.move(100ms);
  CHECK(ids(rig.fetch()) == Ids{"b", "low", "c", "a"});
  // Over and over, one at a time: all get their turn.
  Rig turns;
  turns.enqueue({"a", "b", "c"});
  Ids seen;
  for (int i = 0; i < 6; ++i) {
    const auto delivery = turns.fetch_one();
    seen.push_back(delivery.id);
    turns.settle(delivery, Release{turns.clock.wall() + 100ms});
    turns.clock.move(100ms);
  }
  CHECK(seen == Ids{"a", "b", "c", "a", "b", "c"});
}

EVERY_BROKER("broker: deliveries count what came to no end: a settlement starts them anew") {
  Rig rig;
  rig.enqueue({"a"});
  const auto lose = [&] {
    rig.fetch_one();
    rig.clock.move(31s);
  };
  lose();
  lose();
  CHECK(rig.broker().find("a")->deliveries == 2);
  auto delivery = rig.fetch_one();
  CHECK(delivery.deliveries == 3);
  rig.settle(delivery, RetryAt{rig.clock.wall()});
  delivery = rig.fetch_one();
  CHECK(delivery.deliveries == 1);
  rig.clock.move(31s);
  delivery = rig.fetch_one();
  CHECK(delivery.deliveries == 2);
  rig.settle(delivery, Release{rig.clock.wall()});
  CHECK(rig.fetch_one().deliveries == 1);
}

EVERY_BROKER("broker: a lease lasts as long as the producer asks for, if that is longer") {
  Rig rig;
  auto patient = rig.job("patient");
  patient.visibility_timeout = 10min;
  auto hasty = rig.job("hasty");
  hasty.visibility_timeout = 1s;
  rig.publish({rig.job("a"), patient, hasty});
  rig.fetch();
  CHECK(rig.broker().find("patient")->due == rig.clock.wall() + 10min);
  CHECK(rig.broker().find("hasty")->due == rig.clock.wall() + 30s);
  rig.clock.move(30s);
  CHECK(ids(rig.fetch()) == Ids{"a", "hasty"});
}

EVERY_BROKER("broker: renewing keeps a job; one job of a batch may be kept while the others are let go") {
  Rig rig;
  rig.enqueue({"a", "b", "c", "d"});
  const auto all = rig.fetch();
  rig.clock.move(20s);
  CHECK(rig.broker().renew({{all[1].receipt, all[3].receipt}}, 30s).empty());
  rig.clock.move(10s);
  const auto taken_over = rig.fetch();
  CHECK(ids(taken_over) == Ids{"a", "c"});
  CHECK(rig.settle(all[1], Ack{}));
  CHECK(rig.settle(all[3], Ack{}));
  CHECK_FALSE(rig.settle(all[0], Ack{}));
  CHECK(rig.settle(taken_over[0], Ack{}));
  CHECK(rig.settle(taken_over[1], Ack{}));
  CHECK(rig.broker().depths().empty());
}

EVERY_BROKER("broker: renewing never shortens a lease") {
  Rig rig;
  rig.enqueue({"a"});
  const auto delivery = rig.fetch_one();
  rig.broker().renew({{delivery.receipt}}, 1h);
  CHECK(rig.broker().renew({{delivery.receipt}}, 1s).empty());
  CHECK(rig.broker().find("a")->due == rig.clock.wall() + 1h);
}

EVERY_BROKER("broker: a settled job cannot be renewed") {
  Rig rig;
  rig.enqueue({"a", "b"});
  const auto both = rig.fetch();
  rig.settle(both[0], Ack{});
  CHECK(rig.broker().renew({{both[0].receipt, both[1].receipt}}, 30s) == std::vector{both[0].receipt});
}

EVERY_BROKER("broker: a batch is settled, recorded and followed by the next one in one call") {
  Rig rig;
  rig.enqueue({"a", "b", "c", "d"});
  const auto first = rig.fetch(2);
  const std::vector<Settlement> done{{first[0].receipt, Ack{}, StoreWrite{"result:a", "A", 1h}},
                                     {first[1].receipt, Ack{}, StoreWrite{"result:b", "B", {}}}};
  const auto next = rig.broker().exchange(done, Rig::demand(1));
  CHECK(next.lost.empty());
  CHECK(ids(next.deliveries) == Ids{"c"});
  CHECK(rig.store().get("result:a")->value == "A");
  CHECK(rig.store().get("result:a")->expires == rig.clock.wall() + 1h);
  CHECK(rig.store().get("result:b")->value == "B");
  CHECK(rig.broker().keeps_records_of(rig.store()));
  CHECK_FALSE(rig.broker().keeps_records_of(*MemoryRig().storage.results));
}

EVERY_BROKER("broker: what a batch puts back may be handed out by the same call") {
  Rig rig;
  rig.enqueue({"a"});
  const auto delivery = rig.fetch_one();
  const std::vector<Settlement> back{{delivery.receipt, Release{rig.clock.wall()}, std::nullopt}};
  CHECK(ids(rig.broker().exchange(back, Rig::demand(1)).deliveries) == Ids{"a"});
}

EVERY_BROKER("broker: dead letters keep reason and circumstances, newest first, by queue or all") {
  Rig rig;
  auto tried = rig.job("b", "mail");
  tried.attempt = 3;
  rig.publish({rig.job("a"), tried, rig.job("c")});
  const auto bury = [&](const Delivery& delivery, const std::string& reason, Json meta = Json::object()) {
    rig.clock.move(1s);
    CHECK(rig.settle(delivery, DeadLetter{reason, std::move(meta)}));
  };
  for (const auto& delivery : rig.broker().fetch(Rig::demand(10, {"default", "mail"})))
    bury(delivery, "reason of " + delivery.id, {{"id", delivery.id}});

  const auto all = rig.broker().dead_letters("", 10);
  REQUIRE(all.size() == 3);
  CHECK(all[0].id == "b");
  CHECK(all[0].queue == "mail");
  CHECK(all[0].wire == to_wire(tried));
  CHECK(all[0].attempt == 3);
  CHECK(all[0].reason == "reason of b");
  CHECK(all[0].meta == Json{{"id", "b"}});
  CHECK(all[0].dead_at == rig.clock.wall());
  CHECK(all[1].id == "c");
  CHECK(all[2].id == "a");
  CHECK(rig.broker().dead_letters("", 1).size() == 1);
  CHECK(rig.broker().dead_letters("mail", 10).size() == 1);
  CHECK(rig.broker().dead_letters("default", 10)[0].id == "c");
  CHECK(rig.broker().dead_letters("default", 0).empty());
  CHECK(rig.broker().dead_letters("none", 10).empty());
  const auto view = rig.broker().find("a");
  CHECK(view->state == State::dead);
  CHECK(view->reason == "reason of a");
  CHECK(rig.broker().fetch(Rig::demand(10, {"default", "mail"})).empty());
}

EVERY_BROKER("broker: a replayed job is ready at once, as if new; a purged one is gone") {
  Rig rig;
  auto urgent = rig.job("a", "default", 5);
  urgent.attempt = 2;
  rig.publish({urgent, rig.job("b"), rig.job("c")});
  for (const auto& delivery : rig.fetch(2)) rig.settle(delivery, DeadLetter{"no"});

  CHECK(rig.broker().replay(Ids{"a", "c", "nowhere"}) == 1);
  const auto again = rig.fetch_one();
  CHECK(again.id == "a");
  CHECK(again.attempt == 0);
  CHECK(again.deliveries == 1);
  CHECK(rig.broker().purge(Ids{"a", "b", "c", "nowhere"}) == 1);
  CHECK_FALSE(rig.broker().find("b"));
  CHECK(rig.broker().dead_letters("", 10).empty());
  CHECK(rig.settle(again, DeadLetter{"again"}));
  CHECK(rig.broker().dead_letters("", 10).at(0).reason == "again");
}

EVERY_BROKER(
    "broker: depths tell ready, delayed, leased and dead apart, and how long the oldest has waited") {
  Rig rig;
  rig.publish({rig.job("dead"), rig.job("leased"), rig.job("lost")});
  const auto three = rig.fetch();
  rig.settle(three[0], DeadLetter{"no"});
  rig.broker().renew({{three[1].receipt}}, 1h);
  const auto start = rig.clock.wall();
  rig.clock.move(40s);
  rig.publish({rig.job("ready", "default", 3), rig.delayed("soon", 1s), rig.delayed("later", 1h),
               rig.job("x", "another")});
  rig.clock.move(2s);
  rig.enqueue({"ready-too"});
  CHECK(rig.broker().depths() ==
        std::vector<QueueDepth>{
            {.queue = "another", .ready = 1, .oldest_ready = start + 40s},
            {.queue = "default", .ready = 4, .delayed = 1, .leased = 1, .dead = 1, .oldest_ready = start}});
}

EVERY_BROKER(
    "broker: the next look is due with the next delayed job or the next end of a lease, of the named "
    "queues") {
  Rig rig;
  const std::vector<std::string> queues{"default"};
  CHECK_FALSE(rig.broker().next_due(queues));
  rig.publish({rig.job("x", "another")});
  rig.broker().fetch(Rig::demand(1, {"another"}));
  CHECK_FALSE(rig.broker().next_due(queues));
  CHECK(rig.broker().next_due({"default", "another"}) == rig.clock.wall() + 30s);
  rig.publish({rig.delayed("b", 50s)});
  CHECK(rig.broker().next_due(queues) == rig.clock.wall() + 50s);
  rig.enqueue({"a"});
  const auto delivery = rig.fetch_one();
  CHECK(rig.broker().next_due(queues) == rig.clock.wall() + 30s);
  rig.settle(delivery, RetryAt{rig.clock.wall() + 5s});
  CHECK(rig.broker().next_due(queues) == rig.clock.wall() + 5s);
}

EVERY_BROKER(
    "broker: an idle worker is woken by all that brings work or brings it nearer, and by nothing else") {
  Rig rig;
  const auto other = rig.open();
  auto& sleeper = *other.broker;
  const auto quiet = [&] {
    sleeper.clear_wake();
    return !readable(sleeper.wake_fd());
  };
  REQUIRE(quiet());
  rig.enqueue({"a"});
  CHECK(readable(sleeper.wake_fd(), 1000));
  REQUIRE(quiet());
  CHECK(rig.enqueue({"a"}) == 0);
  CHECK_FALSE(readable(sleeper.wake_fd()));
  rig.publish({rig.delayed("b", 1h)});
  CHECK(readable(sleeper.wake_fd(), 1000));
  REQUIRE(quiet());

  auto delivery = rig.fetch_one();
  CHECK_FALSE(readable(sleeper.wake_fd()));
  rig.settle(delivery, RetryAt{rig.clock.wall()}, StoreWrite{"result:a", "1", {}});
  CHECK(readable(sleeper.wake_fd(), 1000));
  REQUIRE(quiet());
  delivery = rig.fetch_one();
  rig.settle(delivery, Release{rig.clock.wall()});
  CHECK(readable(sleeper.wake_fd(), 1000));
  REQUIRE(quiet());
  delivery = rig.fetch_one();
  rig.broker().renew({{delivery.receipt}}, 30s);
  rig.settle(delivery, DeadLetter{"no"}, StoreWrite{"result:a", "2", {}});
  CHECK_FALSE(readable(sleeper.wake_fd()));
  rig.broker().replay(Ids{"a"});
  CHECK(readable(sleeper.wake_fd(), 1000));
  REQUIRE(quiet());
  rig.settle(rig.fetch_one(), Ack{}, StoreWrite{"result:a", "3", {}});
  rig.store().put({{"result:x", "4", {}}});
  CHECK_FALSE(readable(sleeper.wake_fd()));
}

EVERY_BROKER("broker: any mixture of calls agrees with a simple model") {
  Rig rig;
  struct Job {
    enum { waiting, leased, dead } state = waiting;
    int attempt = 0;
    int deliveries = 0;
    WallTime due{};
    Delivery delivery{};
    WallTime until{};
  };
  std::map<std::string, Job> model;
  std::vector<Delivery> stale;
  std::mt19937 random(20250102);
  const auto one_of = [&](std::size_t count) {
    return std::uniform_int_distribution<std::size_t>(0, count - 1)(random);
  };
  for (int step = 0; step < 3000; ++step) {
    const auto now = rig.clock.wall();
    switch (one_of(6)) {
      case 0: {
        auto envelope = rig.delayed("job-" + std::to_string(one_of(200)),
                                    one_of(2) ? 0s : std::chrono::seconds(one_of(40)));
        envelope.priority = static_cast<int>(one_of(10));
        const bool fresh = !model.contains(envelope.id) || model[envelope.id].state == Job::dead;
        REQUIRE(rig.publish({envelope}) == fresh);
        if (fresh) {
          model[envelope.id] = Job{};
          model[envelope.id].due = *envelope.not_before;
        }
        break;
      }
      case 1: {
        const auto batch = rig.fetch(1 + one_of(12));
        for (const auto& delivery : batch) {
          auto& job = model.at(delivery.id);
          REQUIRE(job.state != Job::dead);
          REQUIRE((job.state == Job::waiting ? job.due : job.until) <= now);
          if (job.state == Job::leased) stale.push_back(job.delivery), ++job.deliveries;
          REQUIRE(delivery.attempt == job.attempt);
          REQUIRE(delivery.deliveries == job.deliveries + 1);
          job.state = Job::leased;
          job.delivery = delivery;
          job.until = now + 30s;
        }
        break;
      }
      case 2:
      case 3: {
        std::vector<Settlement> settlements;
        std::vector<Receipt> lost;
        for (auto entry = model.begin(); entry != model.end();) {
          auto& job = entry->second;
          if (job.state != Job::leased || one_of(4) == 0) {
            ++entry;
            continue;
          }
          settlements.push_back({job.delivery.receipt, Ack{}, std::nullopt});
          auto& way = settlements.back().disposition;
          job.deliveries = 0;
          job.state = Job::waiting;
          switch (one_of(6)) {
            case 0:
              way = RetryAt{now + 7s};
              ++job.attempt;
              job.due = now + 7s;
              break;
            case 1:
              way = Release{now};
              job.due = now;
              break;
            case 2:
              way = DeadLetter{"no"};
              job.state = Job::dead;
              break;
            default:
              entry = model.erase(entry);
              continue;
          }
          ++entry;
        }
        for (const auto& delivery : stale)
          settlements.push_back({delivery.receipt, Ack{}, std::nullopt}), lost.push_back(delivery.receipt);
        std::shuffle(settlements.begin(), settlements.end(), random);
        auto refused = rig.broker().settle(settlements);
        const auto order = [](const Receipt& a, const Receipt& b) {
          return std::pair(a.job, a.token) < std::pair(b.job, b.token);
        };
        std::sort(refused.begin(), refused.end(), order);
        std::sort(lost.begin(), lost.end(), order);
        REQUIRE(refused == lost);
        stale.clear();
        break;
      }
      case 4: {
        std::vector<Receipt> kept;
        for (auto& [id, job] : model)
          if (job.state == Job::leased && one_of(3) == 0) {
            kept.push_back(job.delivery.receipt);
            job.until = std::max(job.until, now + 20s);
          }
        REQUIRE(rig.broker().renew(kept, 20s).empty());
        if (one_of(3) == 0)
          for (auto& [id, job] : model)
            if (job.state == Job::dead) {
              REQUIRE(rig.broker().replay(Ids{id}) == 1);
              job = Job(), job.due = now;
            }
        break;
      }
      default:
        rig.clock.move(std::chrono::seconds(one_of(12)));
    }
    if (step % 50 != 0) continue;
    const auto later = rig.clock.wall();
    QueueDepth expected{.queue = "default"};
    for (const auto& [id, job] : model) {
      const auto view = rig.broker().find(id);
      REQUIRE(view);
      REQUIRE(view->attempt == job.attempt);
      if (job.state == Job::dead) {
        ++expected.dead;
        REQUIRE(view->state == State::dead);
      } else if (job.state == Job::leased && job.until > later) {
        ++expected.leased;
        REQUIRE(view->state == State::leased);
        REQUIRE(view->due == job.until);
      } else if (job.state == Job::waiting && job.due > later) {
        ++expected.delayed;
        REQUIRE(view->state == State::delayed);
        REQUIRE(view->due == job.due);
      } else {
        ++expected.ready;
        REQUIRE(view->state == State::ready);
      }
    }
    auto depth = rig.depth();
    depth.oldest_ready.reset();
    REQUIRE(depth == expected);
  }
}
