#include <doctest/doctest.h>

#include "cli/queue_view.hpp"

using namespace stem;
using namespace stem::cli;
using namespace std::chrono_literals;

namespace {

const WallTime now = parse_time("2025-01-02T03:04:05Z");

Heartbeat beat(const std::string& node, Json queues, Json paused = Json::array()) {
  return {.node = node,
          .host = "h",
          .name_space = "stem",
          .at = now,
          .interval = 10s,
          .facts = {{"queues", std::move(queues)}, {"pausedQueues", std::move(paused)}}};
}

}  // namespace

TEST_CASE("queues: both commands say the same of what the broker holds") {
  const std::vector<QueueDepth> depths{
      {.queue = "mail", .ready = 3, .delayed = 1, .leased = 2, .dead = 4, .oldest_ready = now - 90s}};
  const auto alone = queue_states(depths, now);
  const auto whole =
      queue_states({.at = now, .beats = {beat("a", {"mail"})}, .depths = depths, .paused = {}});
  CHECK(queue_table(alone, QueueColumns::depth) == queue_table(whole, QueueColumns::depth));
  auto more = to_json(whole.at(0), QueueColumns::service);
  for (const char* key : {"workers", "paused", "pauses"}) more.erase(key);
  CHECK(to_json(alone.at(0), QueueColumns::depth) == more);
  CHECK(queue_table(alone, QueueColumns::depth) ==
        "QUEUE  READY  DELAYED  LEASED  DEAD  LONGEST WAIT\n"
        "mail       3        1       2     4  1m30s\n");
}

TEST_CASE(
    "observe queues: queues that are served or paused are there, also empty ones, and who serves them") {
  const auto states = queue_states(
      {.at = now,
       .beats = {beat("b", {"default", "mail"}, {"mail"}), beat("a", {"default"}),
                 beat("odd", {"\x1b[2J", 5, "a b"})},
       .depths =
           {{.queue = "lone", .ready = 1, .delayed = 0, .leased = 0, .dead = 0, .oldest_ready = now + 1s}},
       .paused = {{.queue = "mail", .node = "b", .reason = "down", .requester = "ann", .since = now},
                  {.queue = "rest", .node = "", .reason = "", .requester = "", .since = now}}});
  CHECK(queue_table(states, QueueColumns::service) ==
        "QUEUE    READY  DELAYED  LEASED  DEAD  LONGEST WAIT  WORKERS  PAUSED\n"
        "default      0        0       0     0  -             a,b      -\n"
        "lone         1        0       0     0  0s            -        -\n"
        "mail         0        0       0     0  -             -        on b\n"
        "rest         0        0       0     0  -             -        yes\n");
  CHECK(states.at(1).forsaken());
  CHECK(!states.at(2).forsaken());
  const auto json = to_json(states.at(2), QueueColumns::service);
  CHECK(json.at("paused") == false);
  CHECK(json.at("pauses").at(0) ==
        Json{{"node", "b"}, {"reason", "down"}, {"requestedBy", "ann"}, {"pausedAt", format_time(now)}});
  CHECK(to_json(states.at(3), QueueColumns::service).at("pauses").at(0).at("node").is_null());
}

TEST_CASE("observe queues: of many workers the first are named") {
  CHECK(short_list({}) == "-");
  CHECK(short_list({"a", "b"}) == "a,b");
  CHECK(short_list({"a", "b", "c", "d", "e", "f"}) == "a,b,c,d +2");
}
