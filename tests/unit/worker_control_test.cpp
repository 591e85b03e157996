#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "core/run_times.hpp"
#include "error_of.hpp"
#include "worker_rig.hpp"

using Kind = FleetAnswer::Kind;

namespace {

Names nodes_of(const std::vector<FleetAnswer>& answers, Kind kind = Kind::done) {
  Names names;
  for (const auto& answer : answers)
    if (answer.kind == kind) names.push_back(answer.node);
  return names;
}

ControlRequest request(const std::string& type, Json payload = Json::object()) {
  const auto now = Clock::system().wall();
  return {.id = new_id(now),
          .type = type,
          .targets = {},
          .payload = std::move(payload),
          .issued = now,
          .expires = now + 60s};
}

SigningConfig hmac(const std::string& key) {
  SigningConfig config;
  config.keys = {{"k", key}};
  config.active_key = "k";
  return config;
}

}  // namespace

EVERY_PLACE("control: a ping is answered by all who live, and over as soon as they have answered") {
  Rig<Place> rig;
  for (const auto* node : {"a", "b", "c"}) rig.start(node);
  const auto began = std::chrono::steady_clock::now();
  const auto all = rig.fleet().ask("ping", Json::object(), {}, patience);
  CHECK(std::chrono::steady_clock::now() - began < patience / 2);
  CHECK(nodes_of(all) == Names{"a", "b", "c"});
  CHECK(all[0].host == this_host());
  CHECK(all[0].payload.at("pid") == getpid());
  CHECK(all[0].payload.at("subscriptions").at("queues") == Json{"default"});

  const auto some = rig.fleet().ask("ping", Json::object(), {"c", "a", "nobody"}, patience);
  CHECK(nodes_of(some) == Names{"a", "c"});
  CHECK(nodes_of(some, Kind::absent) == Names{"nobody"});
}

EVERY_PLACE(
    "control: who lives by its heartbeat and does not answer is silent after the time, who ended is told") {
  Rig<Place> rig;
  rig.start("a");
  const auto now = Clock::system().wall();
  Heartbeat ghost{.node = "ghost", .host = "far", .at = now, .interval = 60s},
      leaving{.node = "leaving", .host = "far", .at = now, .interval = 300ms};
  rig.fleet().results().put({heartbeat_record(ghost), heartbeat_record(leaving)});
  const auto all = rig.fleet().ask("ping", Json::object(), {}, 3s);
  CHECK(nodes_of(all) == Names{"a"});
  CHECK(nodes_of(all, Kind::silent) == Names{"ghost"});
  CHECK(nodes_of(all, Kind::ended) == Names{"leaving"});
}

EVERY_PLACE("control: where nobody lives nothing is waited for, and nothing answers") {
  Rig<Place> rig;
  const auto began = std::chrono::steady_clock::now();
  CHECK(rig.fleet().ask("ping", Json::object(), {}, patience).empty());
  CHECK(std::chrono::steady_clock::now() - began < patience / 2);
  CHECK(nodes_of(rig.fleet().ask("ping", Json::object(), {"a"}, patience), Kind::absent) == Names{"a"});
}

EVERY_PLACE("control: a heartbeat is there before anything else, is renewed, and goes when the worker ends") {
  Rig<Place> rig;
  auto& engine = rig.start("a", {"mail", "default"});
  auto fleet = rig.fleet();
  const auto first = fleet.alive();
  REQUIRE(first.size() == 1);
  CHECK(first[0].node == "a");
  CHECK(first[0].facts.at("queues") == Json{"mail", "default"});
  CHECK(first[0].facts.at("memoryBytes") > 0);
  CHECK_FALSE(first[0].stale(Clock::system().wall()));
  CHECK(first[0].stale(first[0].at + 3s));
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (fleet.alive().at(0).at == first[0].at && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(10ms);
  CHECK(fleet.alive().at(0).at > first[0].at);
  engine.quiet();
  while (!fleet.alive().empty() && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(5ms);
  CHECK(fleet.alive().empty());
}

EVERY_PLACE(
    "control: heartbeats and stats tell what became of the jobs of each task and queue, and how long they "
    "took") {
  Rig<Place> rig;
  rig.tasks.add("nap", [](TaskContext&) { std::this_thread::sleep_for(20ms); });
  rig.tasks.add("fail", [](TaskContext&) -> Outcome { return Dead{"no"}; });
  rig.start("a", {"mail", "default"});
  for (int i = 0; i < 2; ++i) rig.end_of(rig.enqueue("nap"));
  rig.end_of(rig.enqueue("fail", "mail"));
  rig.end_of(rig.enqueue("nobody-knows-it", "mail"));
  auto fleet = rig.fleet();
  // What is settled may be counted a moment later.
  Json stats;
  const auto deadline = std::chrono::steady_clock::now() + patience;
  do {
    stats = fleet.ask("stats", Json::object(), {}, patience).at(0).payload;
  } while (stats.at("failed") != 2 && std::chrono::steady_clock::now() < deadline);
  CHECK(stats.at("perQueue").at("default") ==
        Json{{"done", 2}, {"failed", 0}, {"retried", 0}, {"cancelled", 0}});
  CHECK(stats.at("perQueue").at("mail") ==
        Json{{"done", 0}, {"failed", 2}, {"retried", 0}, {"cancelled", 0}});
  REQUIRE(stats.at("perTask").size() == 2);  // what is not registered is no task of this worker
  const auto& nap = stats.at("perTask").at(0);
  CHECK(nap.at("task") == "nap");
  CHECK(nap.at("done") == 2);
  CHECK(nap.at("tookMs") >= 40.0);
  const auto times = RunTimes::from(nap.at("times"));
  CHECK(times.count() == 2);
  CHECK(*times.quantile(0.01) > 15ms);
  CHECK(stats.at("perTask").at(1).at("failed") == 1);
}

EVERY_PLACE(
    "control: while somebody looks on, heartbeats come more often, with what has come since the last") {
  Rig<Place> rig;
  rig.config.heartbeat = 60s;
  rig.start("a");
  auto fleet = rig.fleet();
  const auto deadline = std::chrono::steady_clock::now() + patience;
  const auto next = [&] {
    const auto before = fleet.alive().at(0).at;
    while (fleet.alive().at(0).at == before && std::chrono::steady_clock::now() < deadline)
      std::this_thread::sleep_for(5ms);
    REQUIRE(std::chrono::steady_clock::now() < deadline);
    return fleet.alive().at(0);
  };
  fleet.tell("watch", {{"everyMs", 1}, {"forMs", 5000}}, {}, 5s);
  next();  // at once
  rig.end_of(rig.enqueue("note"));
  int done = 0;
  while (done == 0) {
    const auto beat = next();
    CHECK(beat.interval == 60s);                     // so it lives as long as before
    CHECK(beat.facts.at("recent").at("ms") >= 240);  // not more often than that, whatever is asked for
    done += beat.facts.at("recent").value("completed", 0);
  }
  CHECK(done == 1);
  const auto answer = fleet.ask("watch", {{"everyMs", 30'000}, {"forMs", 1}}, {}, patience).at(0);
  CHECK(answer.payload.at("everyMs") == 250);  // who wants it most often is served
  CHECK(fleet.ask("watch", {{"everyMs", "often"}, {"forMs", 1}}, {}, patience).at(0).kind == Kind::refused);
  CHECK(fleet.ask("watch", {{"everyMs", 1000}}, {}, patience).at(0).kind == Kind::refused);
}

EVERY_PLACE("control: a revoked job is cancelled, also by a worker that starts later") {
  Rig<Place> rig;
  const auto id = rig.enqueue("note"), other = rig.enqueue("note");
  CHECK(rig.revoke({rig.order(id)}).empty());
  rig.start("a");
  const auto result = rig.end_of(id);
  CHECK(result.state == TaskState::cancelled);
  CHECK(result.meta.at("revoked") == true);
  CHECK(result.meta.at("revokedReason") == "wrong");
  CHECK(result.meta.at("revokedBy") == "ann");
  CHECK(result.meta.at("task") == "note");
  CHECK(rig.end_of(other).state == TaskState::succeeded);
  CHECK_FALSE(rig.has_run(id));
  CHECK_FALSE(open_storage(rig.config).broker->find(id));
}

EVERY_PLACE("control: what a worker has leased ahead is cancelled at once, what runs goes on") {
  Rig<Place> rig;
  auto& engine = rig.start("a");
  const auto running = rig.enqueue("gate");
  rig.gate.wait_for(1);
  const auto waiting = rig.enqueue("note");
  while (engine.inflight() < 2) std::this_thread::sleep_for(1ms);
  const auto all = rig.revoke({rig.order(running), rig.order(waiting)});
  REQUIRE(nodes_of(all) == Names{"a"});
  CHECK(all[0].payload.at("inflight") == Json{running});
  CHECK(all[0].payload.at("revoked") == 2);
  CHECK(rig.end_of(waiting).state == TaskState::cancelled);
  CHECK_FALSE(rig.has_run(waiting));
  while (engine.counters().cancelled == 0) std::this_thread::sleep_for(1ms);  // its record comes first
  rig.gate.release();
  CHECK(rig.end_of(running).state == TaskState::succeeded);
}

EVERY_PLACE(
    "control: revoke with terminate reaches a running handler through its context, and the job is not tried "
    "again") {
  Rig<Place> rig;
  auto& engine = rig.start("a");
  const auto id = rig.enqueue("gate");
  rig.gate.wait_for(1);
  const auto all = rig.revoke({rig.order(id, true)});
  REQUIRE(nodes_of(all) == Names{"a"});
  CHECK(all[0].payload.at("inflight") == Json{id});
  const auto result = rig.end_of(id);
  CHECK(result.state == TaskState::cancelled);
  CHECK(result.meta.contains("startedAt"));
  while (engine.counters().cancelled == 0) std::this_thread::sleep_for(1ms);
  CHECK(engine.counters().retried == 0);
  CHECK(engine.counters().failed == 0);
}

EVERY_PLACE("control: a revocation that has expired does not hold") {
  Rig<Place> rig;
  rig.start("a");
  auto past = rig.order("later-1");
  past.expires = Clock::system().wall() - 1s;
  const auto all = rig.revoke({past});
  REQUIRE(nodes_of(all) == Names{"a"});
  CHECK(all[0].payload.at("expired") == Json{"later-1"});
  EnqueueOptions options;
  options.id = "later-1";
  Stem(rig.config).enqueue("note", Json::object(), options);
  CHECK(rig.end_of("later-1").state == TaskState::succeeded);
}

EVERY_PLACE(
    "control: from a paused queue nothing is taken, also by a worker that starts later, until it is "
    "resumed") {
  Rig<Place> rig;
  auto& engine = rig.start("a", {"mail", "default"});
  const auto all = rig.pause("mail");
  REQUIRE(nodes_of(all) == Names{"a"});
  CHECK(all[0].payload.at("paused") == Json{"mail"});
  CHECK(all[0].payload.at("updated") == 1);
  CHECK(engine.subscriptions().paused() == Names{"mail"});
  auto& later = rig.start("b", {"mail"});
  CHECK(later.subscriptions().paused() == Names{"mail"});
  const auto held = rig.enqueue("note", "mail"), free = rig.enqueue("note");
  CHECK(rig.end_of(free).state == TaskState::succeeded);
  CHECK(rig.answers("b"));
  CHECK_FALSE(rig.has_run(held));
  CHECK(open_storage(rig.config).broker->find(held)->state == JobView::State::ready);
  // Said twice, it is done once.
  CHECK(rig.pause("mail").at(0).payload.at("updated") == 0);
  CHECK(rig.resume("mail").at(0).payload.at("paused") == Json::array());
  CHECK(rig.end_of(held).state == TaskState::succeeded);
  CHECK(engine.subscriptions().paused().empty());
}

EVERY_PLACE("control: a queue may be paused for one node, and is resumed for it or for all") {
  Rig<Place> rig;
  auto& a = rig.start("a");
  auto& b = rig.start("b");
  const auto tell = [&](const char* what, const Names& nodes) {
    CHECK(nodes_of(rig.fleet().ask(what, {{"queues", {"default"}}}, nodes, patience)) != Names{});
  };
  const auto pause = [&](const std::string& node) {
    rig.fleet().orders().pause(
        {{.queue = "default", .node = node, .reason = {}, .requester = {}, .since = Clock::system().wall()}});
    tell("queue_pause", {});
  };
  pause("a");
  CHECK(a.subscriptions().paused() == Names{"default"});
  CHECK(b.subscriptions().paused().empty());
  rig.fleet().orders().resume({"default"}, {"a"});
  tell("queue_resume", {"a"});
  CHECK(a.subscriptions().paused().empty());
  pause("a");
  pause("");
  CHECK(b.subscriptions().paused() == Names{"default"});
  rig.fleet().orders().resume({"default"}, {"b"});  // who was paused with all is resumed with all
  tell("queue_resume", {"b"});
  CHECK(b.subscriptions().paused() == Names{"default"});
  rig.resume("default");
  CHECK(a.subscriptions().paused().empty());
  CHECK(b.subscriptions().paused().empty());
}

EVERY_PLACE("control: what was leased ahead from a queue that is paused then is put back") {
  Rig<Place> rig;
  auto& engine = rig.start("a");
  rig.enqueue("gate");
  rig.gate.wait_for(1);
  const auto waiting = rig.enqueue("note");
  while (engine.inflight() < 2) std::this_thread::sleep_for(1ms);
  rig.pause("default");
  const auto broker = open_storage(rig.config).broker;
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (broker->find(waiting)->state != JobView::State::ready && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(1ms);
  CHECK(broker->find(waiting)->state == JobView::State::ready);
  rig.gate.release();
  rig.resume("default");
  CHECK(rig.end_of(waiting).state == TaskState::succeeded);
}

EVERY_PLACE("control: a shutdown is told to the service once, answers first, and is never obeyed again") {
  Rig<Place> rig;
  auto& engine = rig.start("a");
  auto& other = rig.start("b");
  auto first = request("shutdown", {{"mode", "soft"}});
  first.targets = {"a"};
  const auto said = to_envelope(first, control_channel("stem", "a"));
  rig.say(control_channel("stem", "a"), said);
  CHECK(rig.answers("a"));
  CHECK(engine.told_to_end() == StopMode::soft);
  CHECK_FALSE(other.told_to_end());
  engine.quiet();
  while (!engine.finished()) std::this_thread::sleep_for(1ms);

  // Another of the same name, and somebody who repeats what was heard.
  auto& again = rig.start("a");
  rig.say(control_channel("stem", "a"), said);
  CHECK(rig.answers("a"));
  CHECK_FALSE(again.told_to_end());
  const auto harder = rig.fleet().ask("shutdown", {{"mode", "hard"}}, {"a"}, patience);
  CHECK(harder.at(0).payload == Json{{"status", "initiated"}, {"mode", "hard"}, {"active", 0}});
  CHECK(again.told_to_end() == StopMode::hard);
  const auto softer = rig.fleet().ask("shutdown", {{"mode", "warm"}}, {"a"}, patience);
  CHECK(softer.at(0).payload.at("status") == "in-progress");
  CHECK(again.told_to_end() == StopMode::hard);
  const auto wrong = rig.fleet().ask("shutdown", {{"mode", "force"}}, {"b"}, patience);
  CHECK(wrong.at(0).error == "its mode is none of warm, soft and hard");
  CHECK_FALSE(other.told_to_end());
}

EVERY_PLACE("control: what was said before a worker listens is not obeyed") {
  Rig<Place> rig;
  rig.say(control_channel("stem"), to_envelope(request("shutdown"), control_channel("stem")));
  auto& engine = rig.start("a");
  CHECK(rig.answers("a"));
  CHECK_FALSE(engine.told_to_end());
}

EVERY_PLACE(
    "control: what is malformed, expired, for others or said elsewhere is not obeyed, and harms nobody") {
  Rig<Place> rig;
  auto& engine = rig.start("a");
  const auto all = control_channel("stem"), own = control_channel("stem", "a");
  const auto say = [&](const std::string& channel, const ControlRequest& one) {
    rig.say(channel, to_envelope(one, channel));
  };
  const auto now = Clock::system().wall();

  auto expired = request("shutdown");
  expired.expires = now - 1s;
  say(all, expired);
  auto too_long = request("shutdown");
  too_long.expires = now + 3h;
  say(all, too_long);
  auto others = request("shutdown");
  others.targets = {"b", "c"};
  say(all, others);
  rig.say(own, to_envelope(request("shutdown"), all));  // copied from another channel
  rig.say(control_channel("other", "a"), to_envelope(request("shutdown"), control_channel("other", "a")));
  auto bad_id = to_envelope(request("shutdown"), all);
  bad_id.args["requestId"] = "../../etc";
  rig.say(all, bad_id);
  auto huge = request("shutdown");
  huge.payload = {{"x", std::string(longest_control_message, 'x')}};
  say(all, huge);
  Envelope odd;
  odd.id = odd.name = "x";
  odd.queue = all;
  odd.enqueued_at = now;
  for (const Json& args : {Json("text"), Json::array({1, 2}), Json(nullptr), Json{{"type", {1}}}}) {
    odd.args = args;
    rig.say(all, odd);
    odd.name = "__stem.control__";
  }
  // A job of that name is a job like any other: one that nobody can run.
  auto job = to_envelope(request("shutdown"), "default");
  open_storage(rig.config).broker->publish(std::span(&job, 1));

  CHECK(rig.answers("a"));
  CHECK_FALSE(engine.told_to_end());
  const auto refused = [&](const std::string& type, const Json& payload) {
    const auto answers = rig.fleet().ask(type, payload, {}, patience);
    REQUIRE(answers.size() == 1);
    CHECK(answers[0].kind == Kind::refused);
    return answers[0].error;
  };
  CHECK(refused("reboot", Json::object()) == "this worker does not know the order 'reboot'");
  CHECK(refused("revoke", Json::object()) == "its revocations are no list");
  CHECK(refused("revoke", {{"revocations", {{{"taskId", 1}}}}}) == "its taskId is no text");
  CHECK(refused("revoke", {{"namespace", "other"}, {"revocations", Json::array()}}) ==
        "it is meant for another namespace; this worker is of stem");
  CHECK(refused("queue_pause", {{"queues", {"a/b"}}}) == "its queues are no names");
  CHECK(refused("inspect", {{"parts", "all"}}) == "its parts are no list");
  CHECK(rig.end_of(rig.enqueue("note")).state == TaskState::succeeded);
}

TEST_CASE("control: where signing is configured only what is rightly signed is obeyed, told or remembered") {
  Rig<Sqlite> rig;
  rig.config.signing = hmac("the key of sixteen bytes or more");
  auto& engine = rig.start("a");
  auto forger = rig.config;
  forger.signing = {};
  auto other_key = rig.config;
  other_key.signing = hmac("another key of sixteen bytes or more");

  const auto by = [&](const Config& config) { return Fleet(config, open_storage(config)); };
  for (const auto& config : {forger, other_key}) {
    CHECK(nodes_of(by(config).ask("shutdown", Json::object(), {}, 1s), Kind::silent) == Names{"a"});
    const auto id = Stem(rig.config).enqueue("note", Json::object());
    by(config).orders().revoke({rig.order(id)});
    by(config).orders().pause(
        {{.queue = "default", .node = {}, .reason = {}, .requester = {}, .since = Clock::system().wall()}});
  }
  CHECK(rig.answers("a"));
  CHECK_FALSE(engine.told_to_end());
  auto& later = rig.start("b");
  CHECK(later.subscriptions().paused().empty());
  const auto all = rig.pause("default");
  CHECK(nodes_of(all) == Names{"a", "b"});
  CHECK(later.subscriptions().paused() == Names{"default"});

  // A signed order that is changed, and one that is copied to another node.
  auto order = request("shutdown");
  order.targets = {"a"};
  auto envelope = to_envelope(order, control_channel("stem", "a"));
  PayloadSigner::maybe(rig.config)->sign(envelope);
  auto changed = envelope;
  changed.args["targets"] = {"b"};
  rig.say(control_channel("stem", "b"), changed);
  rig.say(control_channel("stem", "b"), envelope);
  CHECK(rig.answers("b"));
  CHECK_FALSE(later.told_to_end());
  rig.say(control_channel("stem", "a"), envelope);
  CHECK(rig.answers("a"));
  CHECK(engine.told_to_end() == StopMode::warm);
}

TEST_CASE("control: forged answers are not believed") {
  Rig<Sqlite> rig;
  rig.config.signing = hmac("the key of sixteen bytes or more");
  Heartbeat ghost{.node = "ghost", .host = "far", .at = Clock::system().wall(), .interval = 60s};
  rig.fleet().results().put({heartbeat_record(ghost)});
  std::atomic<bool> done{false};
  std::thread forger([&] {
    // It hears the question and answers it, without the key.
    const auto broker = open_storage(rig.config).broker;
    std::vector<Listening> ears{{control_channel("stem")}};
    broker->listen(ears, 10);
    while (!done) {
      for (const auto& said : broker->listen(ears, 10)) {
        const auto asked = control_request_from(envelope_from_wire(said.wire));
        const auto channel = control_reply_channel("stem", asked.id);
        broker->broadcast(channel,
                          to_envelope(ControlReply{.request = asked.id, .node = "ghost", .host = "far"},
                                      channel, Clock::system().wall()),
                          60s);
      }
      std::this_thread::sleep_for(2ms);
    }
  });
  CHECK(nodes_of(rig.fleet().ask("ping", Json::object(), {}, 1500ms), Kind::silent) == Names{"ghost"});
  done = true;
  forger.join();
}

TEST_CASE("control: who can only verify gives no orders, and answers unsigned") {
  Rig<Sqlite> rig;
  SigningConfig verifies;
  verifies.algorithm = "ed25519";
  verifies.public_keys = {
      {"e", std::string("\xd7\x5a\x98\x01\x82\xb1\x0a\xb7\xd5\x4b\xfe\xd3\xc9\x64\x07\x3a\x0e\xe1\x72\xf3\xda"
                        "\xa6\x23\x25\xaf\x02\x1a\x68\xf7\x07\x51\x1a",
                        32)}};
  auto signs = verifies;
  signs.private_keys = {{"e", std::string("\x9d\x61\xb1\x9d\xef\xfd\x5a\x60\xba\x84\x4a\xf4\x92\xec\x2c\xc4"
                                          "\x44\x49\xc5\x69\x7b\x32\x69\x19\x70\x3b\xac\x03\x1c\xae\x7f\x60",
                                          32)}};
  signs.active_key = "e";
  rig.config.signing = verifies;
  rig.start("a");
  const auto failed = error_of([&] { rig.fleet().ask("ping", Json::object(), {}, patience); });
  CHECK(failed.status == 78);
  CHECK(failed.says("STEM_SIGNING_PRIVATE_KEYS"));
  CHECK(error_of([&] { rig.fleet().orders().revoke({rig.order("x")}); }).status == 78);
  auto config = rig.config;
  config.signing = signs;
  CHECK(nodes_of(Fleet(config, open_storage(config)).ask("ping", Json::object(), {}, patience)) ==
        Names{"a"});
}

EVERY_PLACE("control: several who ask at once each get all answers, and only theirs") {
  Rig<Place> rig;
  rig.start("a");
  rig.start("b");
  std::atomic<int> right{0};
  std::vector<std::thread> operators;
  for (int i = 0; i < 4; ++i)
    operators.emplace_back([&] {
      for (int n = 0; n < 5; ++n) {
        const auto answers = rig.fleet().ask("ping", Json::object(), {}, patience);
        right += answers.size() == 2 && answers[0].ok() && answers[1].ok();
      }
    });
  for (auto& one : operators) one.join();
  CHECK(right == 20);
}

EVERY_PLACE("control: workers of another namespace are neither asked nor told") {
  Rig<Place> rig;
  rig.start("a");
  rig.config.name_space = "shop";
  rig.start("b");
  CHECK(nodes_of(rig.fleet().ask("ping", Json::object(), {}, patience)) == Names{"b"});
  rig.pause("default");
  CHECK(rig.engines[0]->subscriptions().paused().empty());
  CHECK(rig.engines[1]->subscriptions().paused() == Names{"default"});
}

EVERY_PLACE("control: inspect and stats tell what a worker does") {
  Rig<Place> rig;
  auto& engine = rig.start("a");
  const auto running = rig.enqueue("gate");
  rig.gate.wait_for(1);
  const auto waiting = rig.enqueue("note");
  while (engine.inflight() < 2) std::this_thread::sleep_for(1ms);
  EnqueueOptions options;
  options.delay = 1h;
  Stem(rig.config).enqueue("note", Json::object(), options);
  rig.revoke({rig.order("some-job")});

  auto seen = rig.fleet().ask("inspect", Json::object(), {"a"}, patience).at(0).payload;
  REQUIRE(seen.at("active").size() == 1);
  CHECK(seen["active"][0].at("id") == running);
  CHECK(seen["active"][0].at("task") == "gate");
  CHECK(seen["active"][0].at("status") == "running");
  CHECK(seen["active"][0].contains("startedAt"));
  REQUIRE(seen.at("reserved").size() == 1);
  CHECK(seen["reserved"][0].at("id") == waiting);
  CHECK(seen["reserved"][0].at("task") == "note");
  CHECK(seen.at("scheduled") == Json{{"default", 1}});
  CHECK(seen.at("registered") == Json{"gate", "note"});
  REQUIRE(seen.at("revoked").size() == 1);
  CHECK(seen["revoked"][0].at("taskId") == "some-job");
  seen = rig.fleet().ask("inspect", {{"parts", {"registered"}}}, {"a"}, patience).at(0).payload;
  CHECK(seen.contains("registered"));
  CHECK_FALSE(seen.contains("active"));

  const auto stats = rig.fleet().ask("stats", Json::object(), {"a"}, patience).at(0).payload;
  CHECK(stats.at("pid") == getpid());
  CHECK(stats.at("concurrency") == 1);
  CHECK(stats.at("busy") == 1);
  CHECK(stats.at("queues") == Json{{"default", 2}});
  CHECK(stats.at("active").size() == 1);
  CHECK(stats.at("namespace") == "stem");
  const auto status = rig.fleet().ask("queue_status", Json::object(), {"a"}, patience).at(0).payload;
  CHECK(status.at("subscriptions").at("queues") == Json{"default"});
}

TEST_CASE("control: revocations and pauses may be kept in a store of their own, and results elsewhere") {
  Rig<Sqlite> rig;
  TempDir elsewhere;
  rig.config.result_backend_url = "sqlite://" + (elsewhere / "results.db");
  rig.config.revoke_store_url = "sqlite://" + (elsewhere / "orders.db");
  const auto id = rig.enqueue("note");
  rig.revoke({rig.order(id)});
  auto bare = rig.config;
  bare.result_backend_url = bare.revoke_store_url = "";
  CHECK(Fleet(bare, open_storage(bare)).orders().read().revocations.empty());
  rig.start("a");
  CHECK(rig.end_of(id).state == TaskState::cancelled);
  CHECK(rig.answers("a"));
}

TEST_CASE("control: a broker that goes away while answers are waited for is an error, not silence") {
  RedisServer server;
  Config config;
  config.broker_url = server.url("timeout=300ms");
  Fleet fleet(config, open_storage(config));
  Heartbeat ghost{.node = "ghost", .host = "far", .at = Clock::system().wall(), .interval = 60s};
  fleet.results().put({heartbeat_record(ghost)});
  std::thread killer([&] {
    std::this_thread::sleep_for(300ms);
    server.stop(SIGKILL);
  });
  CHECK(error_of([&] { fleet.ask("ping", Json::object(), {}, patience); }).status == 69);
  killer.join();
  CHECK(error_of([&] { fleet.ask("ping", Json::object(), {}, patience); }).status == 69);
}

TEST_CASE(
    "control: what was revoked and paused while the broker was away for a worker holds when it is back") {
  RedisServer server({"--appendonly", "yes"});
  Rig<Memory> rig;
  rig.config.broker_url = server.url("timeout=300ms");
  rig.start("a");
  server.stop(SIGTERM);
  server.start();
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (error_of([&] { rig.fleet().alive(); }).status == 69 && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(5ms);
  const auto id = rig.enqueue("note");
  rig.pause("default");
  CHECK(rig.answers("a"));
  CHECK(rig.engines[0]->subscriptions().paused() == Names{"default"});
  rig.revoke({rig.order(id)});
  rig.resume("default");
  CHECK(rig.end_of(id).state == TaskState::cancelled);
}

TEST_CASE("control: a standing order under another's name, and one that is no order, is passed over") {
  Rig<Sqlite> rig;
  auto fleet = rig.fleet();
  auto& store = fleet.results();
  fleet.orders().revoke({rig.order("a")});
  const auto own = store.get("revoke:stem:a");
  REQUIRE(own);
  store.put({{"revoke:stem:b", own->value, {}},
             {"revoke:stem:c", "{}", {}},
             {"revoke:stem:d", "nonsense", {}},
             {"pause:stem:q", own->value, {}}});
  const auto all = fleet.orders().read();
  REQUIRE(all.revocations.size() == 1);
  CHECK(all.revocations[0].job == "a");
  CHECK(all.paused.empty());
  CHECK(all.refused.size() == 4);
  rig.start("a");
  CHECK(rig.end_of(rig.enqueue("note")).state == TaskState::succeeded);
}

TEST_CASE("control: more standing orders than a page holds are all read") {
  Rig<Memory> rig;
  std::vector<Revocation> many;
  for (int i = 0; i < 1203; ++i) many.push_back(rig.order("job-" + std::to_string(i)));
  auto fleet = rig.fleet();
  fleet.orders().revoke(many);
  CHECK(fleet.orders().read().revocations.size() == 1203);
}

TEST_CASE("control: a heartbeat that is none is passed over") {
  Rig<Memory> rig;
  auto fleet = rig.fleet();
  Heartbeat right{.node = "a", .host = "h", .at = Clock::system().wall()};
  auto stolen = heartbeat_record(right);
  stolen.key = "heartbeat:stem:b@h";
  fleet.results().put({heartbeat_record(right),
                       stolen,
                       {"heartbeat:stem:x@h", "[]", {}},
                       {"heartbeat:stem:y@h", "\xff", {}}});
  const auto alive = fleet.alive();
  REQUIRE(alive.size() == 1);
  CHECK(alive[0].node == "a");
}
