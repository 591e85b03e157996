#include <doctest/doctest.h>

#include <limits>

#include "core/otlp.hpp"
#include "core/otlp_metrics.hpp"

using namespace stem;
using namespace std::chrono_literals;

namespace {

MetricSnapshot some_figures() {
  MetricSnapshot snapshot;
  snapshot.at = WallTime{1735787045678901us};
  snapshot.since = snapshot.at - 60s;
  snapshot.counter("stem.tasks.started", "Jobs whose handler was called.",
                   {{"task", "mail"}, {"queue", "default"}}, 3);
  snapshot.counter("stem.tasks.started", "Jobs whose handler was called.",
                   {{"task", "\"x\""}, {"queue", "default"}}, 9007199254740993);
  snapshot.gauge("stem.worker.inflight", "", "Jobs at hand.", {}, 2);
  snapshot.gauge("stem.worker.watchdog.age", "s", "How long ago.", {}, 2);
  auto& family =
      snapshot.family("stem.task.duration", MetricFamily::Type::histogram, "s", "How long handlers took.");
  family.points.push_back({{{"task", "mail"}}, 0, {{0.005, 1, 10}, {1, 0, 2, 1}, 4, 20.5, 0.004, 12}});
  family.points.push_back({{{"task", "none"}}, 0, {{0.005, 1, 10}, {0, 0, 0, 0}, 0, 0, 0, 0}});
  return snapshot;
}

Json metrics_of(const std::string& body) {
  return Json::parse(body)["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
}

}  // namespace

TEST_CASE("otlp: counters, gauges and histograms are written as the JSON encoding has them") {
  const auto told =
      otlp_metrics(some_figures(), R"([{"key":"service.name","value":{"stringValue":"stem"}}])");
  CHECK(told.points == 6);
  const auto body = Json::parse(told.body);
  CHECK(body["resourceMetrics"][0]["resource"]["attributes"][0]["key"] == "service.name");
  CHECK(body["resourceMetrics"][0]["scopeMetrics"][0]["scope"] == Json::parse(otlp_scope()));
  const auto metrics = metrics_of(told.body);
  REQUIRE(metrics.size() == 4);
  CHECK(metrics[0]["name"] == "stem.tasks.started");
  CHECK(metrics[0]["description"] == "Jobs whose handler was called.");
  CHECK_FALSE(metrics[0].contains("unit"));
  CHECK(metrics[0]["sum"] == Json::parse(R"({"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[
    {"attributes":[{"key":"task","value":{"stringValue":"mail"}},{"key":"queue","value":{"stringValue":"default"}}],
     "startTimeUnixNano":"1735786985678901000","timeUnixNano":"1735787045678901000","asInt":"3"},
    {"attributes":[{"key":"task","value":{"stringValue":"\"x\""}},{"key":"queue","value":{"stringValue":"default"}}],
     "startTimeUnixNano":"1735786985678901000","timeUnixNano":"1735787045678901000","asDouble":9007199254740992.0}]})"));
  CHECK(
      metrics[1]["gauge"] ==
      Json::parse(R"({"dataPoints":[{"attributes":[],"timeUnixNano":"1735787045678901000","asInt":"2"}]})"));
  CHECK(metrics[2]["unit"] == "s");
  CHECK(metrics[2]["gauge"]["dataPoints"][0]["asDouble"] == 2.0);
  CHECK(metrics[3]["histogram"] == Json::parse(R"({"aggregationTemporality":2,"dataPoints":[
    {"attributes":[{"key":"task","value":{"stringValue":"mail"}}],"startTimeUnixNano":"1735786985678901000",
     "timeUnixNano":"1735787045678901000","count":"4","sum":20.5,"bucketCounts":["1","0","2","1"],"explicitBounds":[0.005,1.0,10.0],
     "min":0.004,"max":12.0},
    {"attributes":[{"key":"task","value":{"stringValue":"none"}}],"startTimeUnixNano":"1735786985678901000",
     "timeUnixNano":"1735787045678901000","count":"0","sum":0.0,"bucketCounts":["0","0","0","0"],"explicitBounds":[0.005,1.0,10.0]}]})"));
}

TEST_CASE("otlp: a figure that is no number is left out, and with it a family that has no other") {
  MetricSnapshot snapshot;
  snapshot.gauge("a", "", "", {}, std::numeric_limits<double>::quiet_NaN());
  snapshot.gauge("b", "", "", {{"x", "1"}}, std::numeric_limits<double>::infinity());
  snapshot.gauge("b", "", "", {{"x", "2"}}, 1);
  const auto told = otlp_metrics(snapshot, "[]");
  CHECK(told.points == 1);
  const auto metrics = metrics_of(told.body);
  REQUIRE(metrics.size() == 1);
  CHECK(metrics[0]["gauge"]["dataPoints"].size() == 1);
  CHECK(otlp_metrics(MetricSnapshot{}, "[]").points == 0);
}

TEST_CASE("metrics: on a console each figure is a JSON object on a line of its own") {
  std::istringstream lines(metric_lines(some_figures()));
  std::vector<Json> told;
  for (std::string line; std::getline(lines, line);) told.push_back(Json::parse(line));
  REQUIRE(told.size() == 6);
  CHECK(told[0] == Json{{"type", "counter"},
                        {"name", "stem.tasks.started"},
                        {"value", 3},
                        {"tags", {{"task", "mail"}, {"queue", "default"}}},
                        {"timestamp", "2025-01-02T03:04:05.678901Z"}});
  CHECK(told[3]["unit"] == "s");
  CHECK(told[4]["count"] == 4);
  CHECK(told[4]["avg"] == 20.5 / 4);
  CHECK_FALSE(told[5].contains("avg"));
}
