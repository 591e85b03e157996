#include <doctest/doctest.h>

#include "cli/top_model.hpp"

using namespace stem;
using namespace stem::cli;
using namespace std::chrono_literals;

namespace {

const WallTime start = parse_time("2025-01-02T03:04:05Z");

/// A worker that has done so much so long after the start.
Heartbeat beat(const std::string& node, Duration after, std::uint64_t done, std::uint64_t failed = 0,
               Json more = Json::object()) {
  Heartbeat one{.node = node,
                .host = "h",
                .name_space = "stem",
                .at = start + after,
                .interval = 10s,
                .facts = std::move(more)};
  one.facts.update({{"startedAt", "2025-01-02T03:00:00Z"},
                    {"busy", 1},
                    {"concurrency", 4},
                    {"completed", done},
                    {"failed", failed},
                    {"retried", 0},
                    {"queues", {"default"}}});
  return one;
}

FleetSample sample(Duration after, std::vector<Heartbeat> beats, std::vector<QueueDepth> depths = {},
                   std::vector<PausedQueue> paused = {}) {
  return {.at = start + after,
          .beats = std::move(beats),
          .depths = std::move(depths),
          .paused = std::move(paused)};
}

QueueDepth depth(const std::string& queue, std::int64_t ready) {
  return {.queue = queue,
          .ready = ready,
          .delayed = 0,
          .leased = 0,
          .dead = 0,
          .oldest_ready = ready ? std::optional(start - 90s) : std::nullopt};
}

Json task(const std::string& name, std::uint64_t done, std::uint64_t failed, Json times) {
  return {{"task", name}, {"done", done},   {"failed", failed},
          {"retried", 0}, {"cancelled", 0}, {"times", std::move(times)}};
}

std::vector<std::string> keys(const TopSection& section) {
  std::vector<std::string> all;
  for (const auto& row : section.rows()) all.push_back(row.key);
  return all;
}

using Keys = std::vector<std::string>;

}  // namespace

TEST_CASE("top: a rate is what came between two heartbeats by the worker's own clock, over some seconds") {
  TopModel model;
  model.take(sample(0s, {beat("a", 0s, 100)}));
  CHECK(!model.figures().rates.done);  // nothing is known yet
  CHECK(model.summary().at(1).text == "- done/s");
  model.take(sample(1s, {beat("a", 1s, 150, 2)}));
  CHECK(*model.figures().rates.done == doctest::Approx(50));
  CHECK(*model.figures().rates.failed == doctest::Approx(2));
  // The same heartbeat again is no news.
  model.take(sample(2s, {beat("a", 1s, 150, 2)}));
  CHECK(*model.figures().rates.done == doctest::Approx(50));
  for (int second = 2; second <= 20; ++second)
    model.take(sample(second * 1s, {beat("a", second * 1s, 150, 2)}));
  CHECK(*model.figures().rates.done == 0);  // the burst is out of the window
}

TEST_CASE("top: one heartbeat tells the pace if it says what came since the one before") {
  TopModel model;
  model.take(
      sample(0s, {beat("a", 0s, 100, 0,
                       {{"recent", {{"ms", 2000}, {"completed", 10}, {"failed", 1}, {"retried", 3}}}})}));
  CHECK(*model.figures().rates.done == doctest::Approx(5));
  CHECK(*model.figures().rates.failed == doctest::Approx(2));
}

TEST_CASE("top: a worker that was started again counts from 0, and its rate is never negative") {
  TopModel model;
  model.take(sample(0s, {beat("a", 0s, 1000)}));
  auto again = beat("a", 1s, 5);
  again.facts["startedAt"] = "2025-01-02T03:04:06Z";
  model.take(sample(1s, {again}));
  CHECK(!model.figures().rates.done);
  // Counters that go back without a restart: something lies, and nothing becomes negative.
  again.at += 1s;
  again.facts["completed"] = 2;
  model.take(sample(2s, {again}));
  CHECK(*model.figures().rates.done >= 0);
}

TEST_CASE("top: rates are summed over workers, and one that is late has none") {
  TopModel model;
  model.take(sample(0s, {beat("a", 0s, 0), beat("b", 0s, 0)}));
  model.take(sample(1s, {beat("a", 1s, 10), beat("b", 1s, 20)}));
  CHECK(*model.figures().rates.done == doctest::Approx(30));
  CHECK(model.figures().concurrency == 8);
  model.take(sample(27s, {beat("a", 27s, 10), beat("b", 1s, 20)}));
  CHECK(model.figures().late == 1);
  CHECK(model.figures().concurrency == 4);
  CHECK(!model.figures().workers.at(1).rates.done);
  CHECK(model.section(TopModel::workers).rows().at(1).cells.at(1).text == "late");
  // One that is gone is forgotten.
  model.take(sample(28s, {beat("a", 28s, 10)}));
  CHECK(model.figures().workers.size() == 1);
}

TEST_CASE(
    "top: tasks of all workers together; how long they take is of the last seconds if something ran then") {
  TopModel model;
  const auto one = [&](Duration after, const std::string& node, std::uint64_t done, Json times) {
    return beat(node, after, done, 0,
                {{"perTask", {task("mail.send", done, 0, std::move(times))}},
                 {"perQueue", {{"default", {{"done", done}}}}}});
  };
  // 4 at 1 s (class 39: 786,432 to 1,048,576 us) before anybody looked, then 4 at 1 ms (class 19).
  model.take(sample(0s, {one(0s, "a", 2, {{39, 2}}), one(0s, "b", 2, {{39, 2}})}));
  REQUIRE(model.figures().tasks.size() == 1);
  CHECK(!model.figures().tasks[0].lately);
  CHECK(*model.figures().tasks[0].p50 > 700ms);
  model.take(sample(1s, {one(1s, "a", 4, {{39, 2}, {19, 2}}), one(1s, "b", 4, {{39, 2}, {19, 2}})}));
  const auto& told = model.figures().tasks.at(0);
  CHECK(told.lately);
  CHECK(*told.p95 < 2ms);
  CHECK(*told.rates.done == doctest::Approx(4));
  CHECK(told.ends.done == 8);
  CHECK(*model.figures().queues.at(0).rates.done == doctest::Approx(4));
}

TEST_CASE("top: a selected row stays selected when others come, go and change places") {
  TopModel model;
  auto& queues = model.section(TopModel::queues);
  model.take(sample(0s, {}, {depth("b", 1), depth("d", 2), depth("f", 3)}));
  queues.select(1);
  CHECK(queues.selected_key() == "d");
  model.take(sample(1s, {}, {depth("a", 0), depth("b", 1), depth("c", 9), depth("d", 2), depth("f", 3)}));
  CHECK(queues.selected_key() == "d");
  queues.sort_by_next();
  CHECK(keys(queues) == Keys{"c", "f", "d", "b", "a"});  // READY, the most first
  CHECK(queues.selected_key() == "d");
  queues.reverse();
  CHECK(keys(queues) == Keys{"a", "b", "d", "f", "c"});
  // Gone: its place is taken by a neighbour, and nothing is selected beyond the end.
  model.take(sample(2s, {}, {depth("a", 0)}));
  CHECK(queues.selected_key() == "a");
  model.take(sample(3s, {}));
  CHECK(queues.selected_key().empty());
  queues.select(5);
  CHECK(queues.selected() == 0);
}

TEST_CASE("top: selection stops at both ends, focus goes round") {
  TopModel model;
  auto& queues = model.section(TopModel::queues);
  model.take(sample(0s, {}, {depth("a", 0), depth("b", 0), depth("c", 0)}));
  queues.select(1'000'000'000);
  CHECK(queues.selected_key() == "c");
  queues.select(-1'000'000'000);
  CHECK(queues.selected_key() == "a");
  model.move_focus(-1);
  CHECK(model.focus() == TopModel::workers);
  model.move_focus(1);
  CHECK(model.focus() == TopModel::queues);
  for (std::size_t i = 0; i < queues.columns().size(); ++i) queues.sort_by_next();
  CHECK(queues.sorted_by() == 0);
}

TEST_CASE("top: the state of a queue says who takes from it, and red is where nobody does") {
  TopModel model;
  auto serving = beat("a", 0s, 0, 0, {{"pausedQueues", {"mail"}}});
  serving.facts["queues"] = {"default", "mail"};
  model.take(sample(0s, {serving}, {depth("default", 0), depth("lone", 3), depth("mail", 1)},
                    {{.queue = "mail", .node = {}, .reason = {}, .requester = {}, .since = start},
                     {.queue = "default", .node = "z", .reason = {}, .requester = {}, .since = start}}));
  const auto& rows = model.section(TopModel::queues).rows();
  const auto state = [&](std::size_t row) { return rows.at(row).cells.at(8); };
  CHECK(state(0).text == "paused on z");
  CHECK(state(1).text == "no worker");
  CHECK(state(1).tone == Tone::bad);
  CHECK(state(2).text == "paused");
  CHECK(state(2).tone == Tone::warning);
  CHECK(rows.at(1).cells.at(1).tone == Tone::bad);
  CHECK(rows.at(0).cells.back().text == "a");
  CHECK(rows.at(2).cells.back().text == "-");  // it serves, and is paused
}

TEST_CASE("top: a heartbeat that says nonsense is shown as one that says nothing") {
  const auto odd = Json::parse(
      R"({"startedAt": 5, "busy": "x", "concurrency": -3, "completed": 1e99, "queues": {"a": 1}, "pausedQueues": 7,
    "recent": [], "perTask": [5, {"task": 7}, {"task": "t", "done": "x", "times": "y"}], "perQueue": {"q": 5}})");
  TopModel model;
  for (int second = 0; second < 3; ++second)
    model.take(sample(second * 1s, {{.node = "a",
                                     .host = "h",
                                     .name_space = "stem",
                                     .at = start + second * 1s,
                                     .interval = 10s,
                                     .facts = odd}}));
  CHECK(model.figures().busy == 0);
  CHECK(*model.figures().rates.done == 0);
  REQUIRE(model.figures().tasks.size() == 1);
  CHECK(!model.figures().tasks[0].p50);
  CHECK(model.text().find("t ") != std::string::npos);
  CHECK(to_json(model.figures()).at("workers").at(0).at("busy") == 0);
}

TEST_CASE("top: plain lines hold all tables, and no control character") {
  TopModel model;
  model.take(sample(0s, {beat("a", 0s, 0)}, {depth("q\x1b[2J", 4)}));
  const auto text = model.text();
  CHECK(text.starts_with("2025-01-02T03:04:05.000Z  1 worker"));
  CHECK(text.find("QUEUE") != std::string::npos);
  CHECK(text.find("WORKER") != std::string::npos);
  CHECK(text.find('\x1b') == std::string::npos);
  CHECK(text.find("LOAD") == std::string::npos);  // a bar
}

TEST_CASE("top: numbers and times as people read them") {
  CHECK(grouped(0) == "0");
  CHECK(grouped(999) == "999");
  CHECK(grouped(1000) == "1,000");
  CHECK(grouped(-1234567) == "-1,234,567");
  CHECK(short_time(12us) == "0.01ms");
  CHECK(short_time(1500us) == "1.5ms");
  CHECK(short_time(150ms) == "150ms");
  CHECK(short_time(3400ms) == "3.4s");
}
