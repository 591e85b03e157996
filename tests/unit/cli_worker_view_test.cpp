#include <doctest/doctest.h>

#include "cli/worker_view.hpp"

using namespace stem;
using namespace stem::cli;
using namespace std::chrono_literals;

namespace {

const WallTime now = parse_time("2025-01-02T03:04:05Z");

Heartbeat beat(const std::string& node, Duration age = 1s) {
  return {.node = node,
          .host = "h",
          .name_space = "stem",
          .at = now - age,
          .interval = 10s,
          .facts = {{"pid", 7},
                    {"startedAt", format_time(now - 5min)},
                    {"busy", 1},
                    {"concurrency", 4},
                    {"inflight", 2},
                    {"completed", 10},
                    {"failed", 3},
                    {"queues", {"default"}},
                    {"recent", {{"ms", 2000}, {"completed", 9}, {"failed", 1}, {"retried", 1}}}}};
}

}  // namespace

TEST_CASE("workers: both commands show the same of a heartbeat, one also its pace") {
  CHECK(worker_table({beat("a")}, WorkerColumns::status, now) ==
        "WORKER  HOST  STATE  PID  UP  BUSY  IN FLIGHT  DONE  FAILED  MEMORY  QUEUES   PAUSED  SEEN\n"
        "a       h     alive    7  5m  1/4           2    10       3       -  default       -  1.0s ago\n");
  CHECK(worker_table({beat("a")}, WorkerColumns::pace, now).find("DONE  FAILED  DONE/S  FAILED/S  MEMORY") !=
        std::string::npos);
  const auto json = to_json(beat("a"), WorkerColumns::pace, now);
  CHECK(json.at("donePerSecond") == 4.5);
  CHECK(json.at("failedPerSecond") == 1.0);
  CHECK(json.at("ageMs") == 1000);
  CHECK(!to_json(beat("a"), WorkerColumns::status, now).contains("donePerSecond"));
  CHECK(worker_line(beat("a"), now) ==
        "2025-01-02T03:04:04.000Z  a  up 5m  1/4 busy  2 in flight  10 done  3 failed");
}

TEST_CASE("workers: a pace that is not told is not known") {
  auto one = beat("a");
  one.facts.erase("recent");
  CHECK(!recent_pace(one));
  one.facts["recent"] = {{"ms", 0}, {"completed", 5}};
  CHECK(!recent_pace(one));
  one.facts["recent"] = "much";
  CHECK(!recent_pace(one));
  CHECK(to_json(one, WorkerColumns::pace, now).at("donePerSecond").is_null());
  CHECK(pace_cell({}) == "-");
  CHECK(pace_cell(0.01) == "0");
  CHECK(pace_cell(3.21) == "3.2");
  CHECK(pace_cell(9.97) == "10");
  CHECK(pace_cell(12345.6) == "12,346");
}

TEST_CASE("workers: all is well if some live, none is late, and none of those asked for is missing") {
  CHECK(status_of({beat("a")}, {}, now) == 0);
  CHECK(status_of({beat("a")}, {"a"}, now) == 0);
  CHECK(status_of({beat("a"), beat("b", 26s)}, {}, now) == 1);
  CHECK(status_of({beat("a")}, {"a", "b"}, now) == 1);
  CHECK(status_of({}, {}, now) == 1);
  CHECK(absence({}, {}, "shop") == "no worker of namespace shop lives\n");
  CHECK(absence({}, {"a"}, "shop") == "no such worker of namespace shop lives\n");
  CHECK(absence({beat("a")}, {"a", "b"}, "shop") == "b does not live\n");
  CHECK(absence({beat("a")}, {}, "shop").empty());
}
