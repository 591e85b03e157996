#include <doctest/doctest.h>

#include <stem/envelope.hpp>

#include "cli/dead_groups.hpp"

using namespace stem;
using namespace stem::cli;
using namespace std::chrono_literals;

namespace {

const WallTime now = parse_time("2025-01-02T03:04:05Z");

DeadJob job(const std::string& queue, const std::string& task, const std::string& reason, Duration age) {
  Envelope envelope;
  envelope.id = queue + "-1";
  envelope.name = task;
  envelope.queue = queue;
  return {.id = "x",
          .queue = queue,
          .wire = to_wire(envelope),
          .attempt = 1,
          .reason = reason,
          .meta = {},
          .dead_at = now - age};
}

}  // namespace

TEST_CASE("dead groups: jobs of one queue, task and reason are counted together, the most first") {
  std::vector<DeadJob> jobs{job("mail", "send", "gave up", 1h), job("default", "count", "no task", 5s),
                            job("mail", "send", "gave up", 2s), job("mail", "send", "expired", 1min)};
  jobs.push_back({.id = "y",
                  .queue = "mail",
                  .wire = "\xff",
                  .attempt = 0,
                  .reason = "no\nenvelope\x1b[2J",
                  .meta = {},
                  .dead_at = now});
  const auto groups = dead_groups(jobs);
  REQUIRE(groups.size() == 4);
  CHECK(groups[0].reason == "gave up");
  CHECK(groups[0].count == 2);
  CHECK(groups[0].oldest == now - 1h);
  CHECK(groups[0].newest == now - 2s);
  const auto text = dead_group_table(groups, now);
  CHECK(text.find("mail     send   gave up") != std::string::npos);
  CHECK(text.find("5 dead letters of 2 queues, 3 tasks, 4 reasons") != std::string::npos);
  CHECK(text.find('\x1b') == std::string::npos);

  const auto json = to_json(groups);
  CHECK(json.at("dead") == 5);
  CHECK(json.at("oldest") == format_time(now - 1h));
  CHECK(json.at("newest") == format_time(now));
  CHECK(
      json.at("queues").at(1) ==
      Json{{"queue", "mail"}, {"dead", 4}, {"oldest", format_time(now - 1h)}, {"newest", format_time(now)}});
  CHECK(json.at("tasks").size() == 3);
  CHECK(json.at("reasons").size() == 4);
  CHECK(json.at("groups").size() == 4);
}

TEST_CASE("dead groups: none is said in words, and in JSON with nothing for its times") {
  CHECK(dead_group_table({}, now) == "no dead letter matches\n");
  CHECK(to_json(std::vector<DeadGroup>{}).at("oldest").is_null());
  CHECK(dead_group_table(dead_groups({job("q", "t", "r", 1s)}), now)
            .find("1 dead letter of 1 queue, 1 task, 1 reason") != std::string::npos);
}
