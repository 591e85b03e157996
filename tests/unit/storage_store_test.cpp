#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <thread>

#include "storage_rig.hpp"

using namespace stem;
using namespace std::chrono_literals;

// What every store does, whatever it stands on.
#define EVERY_STORE(name) TEST_CASE_TEMPLATE(name, Rig, MemoryRig, SqliteRig, RedisRig, PostgresRig)

namespace {

Ids keys(const std::vector<StoreEntry>& entries) {
  Ids keys;
  for (const auto& entry : entries) keys.push_back(entry.key);
  return keys;
}

}  // namespace

EVERY_STORE("store: what was put is got, by others too; what was not is not") {
  Rig rig;
  const std::string bytes("line\n\0gr\u00fc\u00dfe", 13);
  rig.store().put({{"a", bytes, {}}, {"b", "", {}}});
  const auto other = rig.open();
  CHECK(other.results->get("a")->value == bytes);
  CHECK(other.results->get("a")->key == "a");
  CHECK_FALSE(other.results->get("a")->expires);
  CHECK(other.results->get("b")->value.empty());
  CHECK_FALSE(other.results->get("c"));
  rig.store().put({});
}

EVERY_STORE("store: each write of a key raises its version, also within one batch and after an erase") {
  Rig rig;
  std::int64_t last = 0;
  const auto grown = [&] {
    const auto version = rig.store().get("a")->version;
    return std::exchange(last, version) < version;
  };
  rig.store().put({{"a", "1", {}}});
  CHECK(grown());
  rig.store().put({{"a", "2", {}}, {"b", "x", {}}, {"a", "3", {}}});
  CHECK(rig.store().get("a")->value == "3");
  CHECK(grown());
  CHECK(rig.store().erase("a"));
  rig.clock.move(1ms);
  rig.store().put({{"a", "4", {}}});
  CHECK(grown());
}

EVERY_STORE("store: a large batch is put whole") {
  Rig rig;
  std::vector<StoreWrite> writes;
  for (int i = 0; i < 333; ++i) writes.push_back({"key-" + std::to_string(i % 300), std::to_string(i), {}});
  rig.store().put(writes);
  for (int i = 0; i < 300; ++i)
    CHECK(rig.store().get("key-" + std::to_string(i))->value == std::to_string(i < 33 ? i + 300 : i));
  CHECK(rig.store().list("key-", 1000).size() == 300);
}

EVERY_STORE("store: a value is gone when its time is over, to the microsecond") {
  Rig rig;
  rig.store().put({{"a", "1", 10s}});
  CHECK(rig.store().get("a")->expires == rig.clock.wall() + 10s);
  rig.clock.move(10s - 1us);
  CHECK(rig.store().get("a"));
  rig.clock.move(1us);
  CHECK_FALSE(rig.store().get("a"));
  CHECK(rig.store().list("", 10).empty());
  CHECK_FALSE(rig.store().erase("a"));
}

EVERY_STORE("store: sweeping deletes what has expired and nothing else") {
  Rig rig;
  CHECK(rig.store().sweep() == 0);
  rig.store().put({{"a", "1", 10s}, {"b", "1", 10s}, {"c", "1", 20s}, {"d", "1", {}}, {"e", "1", 10s}});
  rig.store().put({{"b", "2", 1h}});
  rig.store().put({{"e", "2", {}}});
  rig.clock.move(15s);
  CHECK(rig.store().sweep() == 1);
  CHECK(rig.store().sweep() == 0);
  CHECK(keys(rig.store().list("", 10)) == Ids{"b", "c", "d", "e"});
  rig.clock.move(15s);
  CHECK(rig.store().sweep() == 1);
  CHECK(keys(rig.store().list("", 10)) == Ids{"b", "d", "e"});
}

EVERY_STORE("store: a sweep deletes a few hundred at most, and nothing when nothing is left") {
  Rig rig;
  for (int i = 0; i < 600; ++i)
    rig.store().put({{"key-" + std::to_string(i), "1", std::chrono::seconds(1 + i % 7)}});
  std::vector<StoreWrite> batch;
  for (int i = 0; i < 1200; ++i) batch.push_back({"batch-" + std::to_string(i), "1", 5s});
  batch.push_back({"stays", "1", 11s});
  rig.store().put(batch);
  rig.clock.move(10s);
  std::size_t all = 0, calls = 0;
  for (auto swept = rig.store().sweep(); swept > 0; swept = rig.store().sweep(), ++calls) {
    CHECK(swept <= 500);
    all += swept;
  }
  CHECK(all == 1800);
  CHECK(calls == 4);
  rig.clock.move(-10s);  // what is not there cannot come back
  CHECK(keys(rig.store().list("", 10)) == Ids{"stays"});
}

EVERY_STORE("store: who is told to stop waiting returns at once, now and later, and others go on waiting") {
  Rig rig;
  const auto other = rig.open();
  std::atomic<bool> ended{false};
  std::thread waiter([&] {
    rig.store().await("a", 0, 30s);
    ended = true;
  });
  auto still = std::async(std::launch::async, [&] { return other.results->await("a", 0, 30s); });
  rig.store().stop_waiting();
  waiter.join();
  CHECK(ended);
  CHECK_FALSE(rig.store().await("a", 0, 30s));
  CHECK(still.wait_for(50ms) == std::future_status::timeout);
  other.results->put({{"a", "1", {}}});
  CHECK(still.get()->value == "1");
}

EVERY_STORE("store: compare-and-set writes only over the version that was read") {
  Rig rig;
  CHECK_FALSE(rig.store().compare_and_set({"a", "1", {}}, 7));
  CHECK(rig.store().compare_and_set({"a", "1", {}}, 0));
  CHECK_FALSE(rig.store().compare_and_set({"a", "2", {}}, 0));
  const auto version = rig.store().get("a")->version;
  CHECK_FALSE(rig.store().compare_and_set({"a", "2", {}}, version + 1));
  CHECK(rig.store().compare_and_set({"a", "2", 5s}, version));
  CHECK(rig.store().get("a")->value == "2");
  rig.clock.move(5s);
  CHECK(rig.store().compare_and_set({"a", "3", {}}, 0));
}

EVERY_STORE("store: a guarded write happens whole, or not at all where one guard does not hold") {
  Rig rig;
  auto& store = rig.store();
  store.put({{"lock", "mine", 5s}, {"revision", "1", {}}});
  const StoreGuard lock{"lock", store.get("lock")->version},
      revision{"revision", store.get("revision")->version};
  const auto write = [&](const std::string& value, const std::vector<StoreGuard>& guards) {
    return store.put_guarded({{"a", value, {}}, {"b", value, {}}}, guards);
  };
  CHECK(write("1", {lock, revision, {"absent", 0}}));
  CHECK_FALSE(write("2", {lock, {"revision", revision.version + 1}}));
  CHECK_FALSE(write("2", {{"revision", 0}}));
  CHECK_FALSE(write("2", {{"absent", 1}}));
  rig.clock.move(5s);
  CHECK_FALSE(write("2", {revision, lock}));
  CHECK(store.get("a")->value == "1");
  CHECK(store.get("b")->value == "1");
  CHECK(write("3", {revision, {"lock", 0}}));
  CHECK(store.get("b")->value == "3");
  CHECK(store.put_guarded({}, {revision}));
  CHECK_FALSE(store.put_guarded({}, {lock}));
}

EVERY_STORE("store: of many who count up by compare-and-set none is overwritten") {
  Rig rig;
  const auto count_up = [&] {
    const auto mine = rig.open();
    for (int done = 0; done < 25;) {
      const auto seen = mine.results->get("count");
      const int count = seen ? std::stoi(seen->value) : 0;
      done +=
          mine.results->compare_and_set({"count", std::to_string(count + 1), {}}, seen ? seen->version : 0);
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back(count_up);
  for (auto& thread : threads) thread.join();
  CHECK(rig.store().get("count")->value == "100");
}

EVERY_STORE("store: erasing tells whether there was something") {
  Rig rig;
  rig.store().put({{"a", "1", {}}});
  CHECK(rig.store().erase("a"));
  CHECK_FALSE(rig.store().erase("a"));
  CHECK_FALSE(rig.store().get("a"));
}

EVERY_STORE("store: a listing is sorted, keeps to the prefix and goes on where it stopped") {
  Rig rig;
  rig.store().put(
      {{"b:2", "", {}}, {"b:1", "", {}}, {"a", "", {}}, {"b:", "", {}}, {"c", "", {}}, {"b:\u00fc", "", {}}});
  CHECK(keys(rig.store().list("b:", 10)) == Ids{"b:", "b:1", "b:2", "b:\u00fc"});
  CHECK(keys(rig.store().list("b:", 2)) == Ids{"b:", "b:1"});
  CHECK(keys(rig.store().list("b:", 2, "b:1")) == Ids{"b:2", "b:\u00fc"});
  CHECK(keys(rig.store().list("b:", 2, "b:\u00fc")).empty());
  CHECK(keys(rig.store().list("", 10)) == Ids{"a", "b:", "b:1", "b:2", "b:\u00fc", "c"});
  CHECK(keys(rig.store().list("b:", 0)).empty());
  CHECK(keys(rig.store().list("d", 10)).empty());
}

EVERY_STORE(
    "store: a wait returns at once with a version that is new already, and at its end with what there is") {
  Rig rig;
  CHECK_FALSE(rig.store().await("a", 0, 1ms));
  rig.store().put({{"a", "1", {}}});
  const auto seen = rig.store().await("a", 0, 1h);
  CHECK(seen->value == "1");
  CHECK(rig.store().await("a", seen->version, 1ms)->value == "1");
  CHECK(rig.store().await("a", seen->version, 0s)->value == "1");
}

EVERY_STORE("store: a wait is ended by the write of another, whatever else is written meanwhile") {
  Rig rig;
  const auto writer = rig.open();
  writer.results->put({{"a", "queued", {}}});
  const auto version = rig.store().get("a")->version;
  const auto start = std::chrono::steady_clock::now();
  auto waiting = std::async(std::launch::async, [&] { return rig.store().await("a", version, 1min); });
  for (int i = 0; i < 20; ++i) writer.results->put({{"b", std::to_string(i), {}}});
  writer.results->put({{"a", "done", {}}});
  CHECK(waiting.get()->value == "done");
  CHECK(std::chrono::steady_clock::now() - start < 4s);  // not by the slow look
}

EVERY_STORE("store: many threads wait on one store, each for its own key") {
  Rig rig;
  constexpr int count = 16;
  const auto start = std::chrono::steady_clock::now();
  std::vector<std::future<std::optional<StoreEntry>>> waiting;
  for (int i = 0; i < count; ++i)
    waiting.push_back(std::async(
        std::launch::async, [&rig, i] { return rig.store().await("key-" + std::to_string(i), 0, 1min); }));
  // Some give up early, the one who listens for the others perhaps among them.
  auto impatient = std::async(std::launch::async, [&] { return rig.store().await("never", 0, 20ms); });
  CHECK_FALSE(impatient.get());
  const auto writer = rig.open();
  for (int i = count; i-- > 0;) writer.results->put({{"key-" + std::to_string(i), std::to_string(i), {}}});
  for (int i = 0; i < count; ++i)
    CHECK(waiting[static_cast<std::size_t>(i)].get()->value == std::to_string(i));
  CHECK(std::chrono::steady_clock::now() - start < 4s);
}

EVERY_STORE("store: a settled job's record ends the wait for it") {
  Rig rig;
  rig.enqueue({"a"});
  const auto worker = rig.open();
  const auto delivery = worker.broker->fetch(Rig::demand(1)).at(0);
  auto waiting = std::async(std::launch::async, [&] { return rig.store().await("result:a", 0, 1min); });
  const Settlement done{delivery.receipt, Ack{}, StoreWrite{"result:a", "done", 1h}};
  const auto start = std::chrono::steady_clock::now();
  worker.broker->settle({&done, 1});
  CHECK(waiting.get()->value == "done");
  CHECK(std::chrono::steady_clock::now() - start < 4s);
}
