#include <doctest/doctest.h>

#include <atomic>
#include <map>
#include <mutex>
#include <set>
#include <stem/signing.hpp>
#include <stem/stem.hpp>
#include <thread>

#include "core/base64.hpp"
#include "error_of.hpp"
#include "storage/open.hpp"
#include "temp_dir.hpp"
#include "worker/engine.hpp"

using namespace stem;
using namespace std::chrono_literals;

namespace {

SigningConfig keys(std::map<std::string, std::string> known, const std::string& active) {
  SigningConfig config;
  config.keys = std::move(known);
  config.active_key = active;
  return config;
}

/// One queue, its producers and workers.
struct Rig {
  TempDir directory;
  Config config;
  Registry tasks;
  std::mutex mutex;
  std::multiset<int> ran;

  Rig() {
    config.broker_url = "sqlite://" + (directory / "stem.db") + "?synchronous=normal";
    config.concurrency = 2;
    config.retry = {1ms, 1ms, 1, 0};
    tasks.add("note", [this](TaskContext& job) {
      const std::lock_guard lock(mutex);
      ran.insert(job.args().at("n").get<int>());
    });
  }

  Config with(const SigningConfig& signing) const {
    auto own = config;
    own.signing = signing;
    return own;
  }
  std::unique_ptr<Engine> worker(const SigningConfig& signing) const {
    const auto own = with(signing);
    auto engine = std::make_unique<Engine>(engine_options(own), tasks, open_storage(own));
    engine->start();
    return engine;
  }
  Result end_of(const std::string& id) const {
    const auto result = Stem(config).wait(id, 20s);
    REQUIRE(result);
    REQUIRE(is_final(result->state));
    return *result;
  }
  std::vector<DeadJob> dead() const { return open_storage(config).broker->dead_letters("", 1000); }
  void publish(const Envelope& job) const { open_storage(config).broker->publish(std::span(&job, 1)); }
};

const SigningConfig v1 = keys({{"v1", "the old key of sixteen bytes or more"}}, "v1");

}  // namespace

TEST_CASE("signed jobs: a worker runs what its key signed, and a retry needs no new signature") {
  Rig rig;
  std::atomic<int> attempts{0};
  rig.tasks.add("twice", [&](TaskContext&) -> Outcome {
    if (++attempts < 2) return Retry{"once more"};
    return Done{"done"};
  });
  Stem producer(rig.with(v1));
  const auto worker = rig.worker(v1);
  CHECK(rig.end_of(producer.enqueue("twice")).value == "done");
  CHECK(attempts == 2);
  CHECK(rig.dead().empty());
}

TEST_CASE(
    "signed jobs: unsigned, altered, of an unknown or another key, copied: dead, with the reason, and never "
    "run") {
  Rig rig;
  const auto signer = *PayloadSigner::maybe(v1);
  const auto job = [&](const std::string& id, const PayloadSigner* by) {
    Envelope envelope;
    envelope.id = id;
    envelope.name = "note";
    envelope.args = {{"n", 666}};
    envelope.enqueued_at = Clock::system().wall();
    if (by) by->sign(envelope);
    return envelope;
  };
  rig.publish(job("unsigned", nullptr));
  auto altered = job("altered", &signer);
  altered.args["n"] = 667;
  rig.publish(altered);
  const auto unknown = *PayloadSigner::maybe(keys({{"v9", "a key that nobody knows"}}, "v9"));
  rig.publish(job("unknown-key", &unknown));
  const auto wrong = *PayloadSigner::maybe(keys({{"v1", "the wrong key of the right id"}}, "v1"));
  rig.publish(job("wrong-key", &wrong));
  auto undefined = job("undefined-task", nullptr);
  undefined.name = "no.such.task";
  rig.publish(undefined);

  const auto worker = rig.worker(v1);
  for (const auto* id : {"unsigned", "altered", "unknown-key", "wrong-key", "undefined-task"}) {
    const auto result = rig.end_of(id);
    CHECK(result.state == TaskState::failed);
    REQUIRE(result.failure);
    CHECK(result.failure->type == "signature-invalid");
    CHECK(result.meta.at("security") == "signature-invalid");
    CHECK(result.meta.at("deadReason") == "signature-invalid");
  }
  std::map<std::string, DeadJob> dead;
  for (auto& letter : rig.dead()) {
    CHECK(letter.reason == "signature-invalid");
    dead.emplace(letter.id, std::move(letter));
  }
  REQUIRE(dead.size() == 5);
  CHECK(dead.at("unsigned").meta.at("error") == "it is not signed");
  CHECK(dead.at("unsigned").meta.at("keyId").is_null());
  CHECK(dead.at("undefined-task").meta.at("error") == "it is not signed");
  CHECK(dead.at("altered").meta.at("keyId") == "v1");
  CHECK(dead.at("altered").wire == to_wire(altered));  // kept as it came
  CHECK(dead.at("unknown-key")
            .meta.at("error")
            .get<std::string>()
            .find("'v9', which STEM_SIGNING_KEYS does not have") != std::string::npos);
  CHECK(dead.at("unknown-key").meta.at("keyId") == "v9");
  CHECK(dead.at("wrong-key").meta.at("error").get<std::string>().find("another key of the id 'v1'") !=
        std::string::npos);
  CHECK(worker->counters().forged == 5);
  CHECK(rig.ran.empty());
}

TEST_CASE("signed jobs: a right signature does not let a job run under another id or from another queue") {
  const auto signer = *PayloadSigner::maybe(v1);
  Envelope envelope;
  envelope.id = "paid-once";
  envelope.name = "note";
  envelope.args = {{"n", 1}};
  envelope.enqueued_at = Clock::system().wall();
  signer.sign(envelope);

  Rig rig;
  rig.tasks.add("never", [](TaskContext&) {});
  const auto storage = open_storage(rig.config);
  ExecutorShared shared{rig.tasks,
                        Clock::system(),
                        {},
                        signer,
                        {},
                        {},
                        JobInputs{storage},
                        {*storage.results, Clock::system(), "stem"},
                        {},
                        {},
                        [] {}};
  const auto fate = [&](const std::string& id, const std::string& queue) {
    Delivery delivery;
    delivery.id = id;
    delivery.queue = queue;
    delivery.wire = to_wire(envelope);
    LeasedJob job(std::move(delivery));
    Executor(shared).run(job);
    REQUIRE(job.settlement);
    return job.settlement->disposition;
  };
  CHECK(std::holds_alternative<Ack>(fate("paid-once", "default")));
  const auto copied = fate("paid-twice", "default");
  REQUIRE(std::holds_alternative<DeadLetter>(copied));
  CHECK(std::get<DeadLetter>(copied).meta.at("error") == "it was signed as the job paid-once");
  const auto moved = fate("paid-once", "root");
  REQUIRE(std::holds_alternative<DeadLetter>(moved));
  CHECK(std::get<DeadLetter>(moved).meta.at("error") == "it was signed for the queue default");
  CHECK(rig.ran.size() == 1);
}

TEST_CASE("signed jobs: the key is changed under way, and no job is lost") {
  Rig rig;
  const auto both = keys({{"v1", v1.keys.at("v1")}, {"v2", "the new key of sixteen bytes or more"}}, "v1");
  auto both_new = both;
  both_new.active_key = "v2";
  const auto v2 = keys({{"v2", both.keys.at("v2")}}, "v2");

  int n = 0;
  std::vector<std::string> ids;
  const auto enqueue = [&](Stem& producer, int count) {
    std::vector<Job> jobs;
    for (int i = 0; i < count; ++i) jobs.push_back({"note", {{"n", n++}}, {}});
    for (auto& id : producer.enqueue(jobs)) ids.push_back(std::move(id));
  };
  const auto stop = [](std::unique_ptr<Engine> worker) {
    worker->quiet();
    while (!worker->finished()) std::this_thread::sleep_for(1ms);
  };

  Stem old_producer(rig.with(v1));
  auto worker = rig.worker(v1);
  enqueue(old_producer, 100);
  // 1. Workers learn the new key, while the producers still sign with the old one.
  auto next = rig.worker(both);
  stop(std::move(worker));
  enqueue(old_producer, 100);
  // 2. Producers sign with the new one; jobs of the old one still wait.
  Stem new_producer(rig.with(both_new));
  enqueue(new_producer, 100);
  enqueue(old_producer, 100);  // a producer that was forgotten until now
  for (const auto& id : ids) CHECK(rig.end_of(id).state == TaskState::succeeded);
  // 3. Nothing waits that the old key signed: it goes.
  worker = rig.worker(v2);
  stop(std::move(next));
  enqueue(new_producer, 100);
  for (const auto& id : ids) CHECK(rig.end_of(id).state == TaskState::succeeded);
  CHECK(rig.dead().empty());
  CHECK(rig.ran.size() == 500);
  // From here on the old key opens nothing.
  const auto late = old_producer.enqueue("note", {{"n", -1}});
  CHECK(rig.end_of(late).state == TaskState::failed);
  CHECK(rig.ran.count(-1) == 0);
}

TEST_CASE("signed jobs: a worker that only verifies, with Ed25519, runs and retries what a producer signed") {
  SigningConfig producing;
  producing.algorithm = "ed25519";
  producing.public_keys = {{"v1", *from_base64("A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=")}};
  producing.private_keys = {{"v1", *from_base64("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")}};
  producing.active_key = "v1";
  auto verifying = producing;
  verifying.private_keys.clear();
  verifying.active_key.clear();

  Rig rig;
  std::atomic<int> attempts{0};
  rig.tasks.add("twice", [&](TaskContext&) -> Outcome {
    if (++attempts < 2) return Retry{"once more"};
    return Done{};
  });
  const auto worker = rig.worker(verifying);
  CHECK(rig.end_of(Stem(rig.with(producing)).enqueue("twice")).state == TaskState::succeeded);
  CHECK(attempts == 2);

  // It cannot sign, so it does not enqueue: neither one job nor some of many.
  Stem cannot(rig.with(verifying));
  const auto failed = error_of([&] { cannot.enqueue("note", {{"n", 1}}); });
  CHECK(failed.status == 78);
  CHECK(failed.is_one_line());
  CHECK(
      failed.says("job note is not enqueued, for it cannot be signed: STEM_SIGNING_PRIVATE_KEYS is not set"));
  CHECK(rig.ran.empty());
}

TEST_CASE("signed jobs: a producer that cannot sign one of its jobs enqueues none of them") {
  Rig rig;
  Stem producer(rig.with(v1));
  const auto failed = error_of([&] {
    producer.enqueue({{"note", {{"n", 1}}, {}}, {"note", {{"n", std::uint64_t{1} << 63}}, {}}});
  });
  CHECK(failed.status == 65);
  CHECK(failed.says("cannot be signed"));
  for (const auto& depth : open_storage(rig.config).broker->depths()) CHECK(depth.ready == 0);
}

TEST_CASE("signed jobs: a producer takes a signer of its own") {
  Rig rig;
  const auto worker = rig.worker(v1);
  Stem by_hand(rig.config, PayloadSigner::maybe(v1));
  CHECK(rig.end_of(by_hand.enqueue("note", {{"n", 7}})).state == TaskState::succeeded);
  Stem without(rig.with(v1), std::nullopt);
  CHECK(rig.end_of(without.enqueue("note", {{"n", 8}})).state == TaskState::failed);
  CHECK(rig.ran == std::multiset<int>{7});
}
