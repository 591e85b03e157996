#include <doctest/doctest.h>

#include <stem/config.hpp>
#include <thread>
#include <vector>

#include "core/histogram.hpp"
#include "core/listen_address.hpp"
#include "core/metric_snapshot.hpp"
#include "error_of.hpp"

using namespace stem;
using namespace std::chrono_literals;

namespace {

MetricSnapshot sample() {
  MetricSnapshot snapshot;
  snapshot.at = parse_time("2025-01-02T03:04:05.678Z");
  snapshot.since = parse_time("2025-01-02T03:00:00.000Z");
  snapshot.counter("stem.tasks.started", "Attempts.", {{"task", "mail"}, {"queue", "default"}}, 7);
  snapshot.counter("stem.tasks.started", "Attempts.", {{"task", "a\"b\\c\nd"}, {"queue", "default"}}, 1);
  snapshot.gauge("stem.worker.start_time", "s", "When.", {{"worker", "web-1"}}, 1735786805.5);
  snapshot.gauge("stem.queue.lag", "s", "How long.", {{"queue", "default"}}, 0.25);
  Histogram histogram;
  histogram.add(3ms);
  histogram.add(7ms);
  snapshot.family("stem.task.duration", MetricFamily::Type::histogram, "s", "How long.")
      .points.push_back({{{"task", "mail"}}, 0, histogram.spread()});
  return snapshot;
}

}  // namespace

TEST_CASE("metrics: a snapshot comes through its wire form as it was") {
  const auto snapshot = sample();
  const auto text = to_wire(snapshot).dump();
  CHECK(metric_snapshot_from(Json::parse(text)) == snapshot);
}

TEST_CASE("metrics: figures that make no sense are refused, and never taken for something else") {
  const auto wire = to_wire(sample());
  const auto refused = [](const Json& wrong) {
    return error_of([&] { metric_snapshot_from(wrong); }).status == 65;
  };
  CHECK(refused(nullptr));
  CHECK(refused(Json::array()));
  auto wrong = wire;
  wrong.erase("families");
  CHECK(refused(wrong));
  wrong = wire;
  wrong["at"] = "yesterday";
  CHECK(refused(wrong));
  wrong = wire;
  wrong["families"][0]["type"] = "summary";
  CHECK(refused(wrong));
  wrong = wire;
  wrong["families"][0]["points"][0]["labels"] = {{"task"}};
  CHECK(refused(wrong));
  wrong = wire;
  wrong["families"][0]["points"][0].erase("value");
  CHECK(refused(wrong));
  wrong = wire;
  wrong["families"][3]["points"][0]["counts"].erase(0);
  CHECK(refused(wrong));
  wrong = wire;
  wrong["families"][3]["points"][0]["counts"][0] = -1;
  CHECK(refused(wrong));
  wrong = wire;
  wrong["families"][3]["points"][0]["bounds"][1] = 0;
  CHECK(refused(wrong));
  CHECK_FALSE(refused(wire));
}

TEST_CASE("metrics: names for Prometheus have units and the ends that it wants") {
  using Type = MetricFamily::Type;
  CHECK(prometheus_name({"stem.tasks.started", Type::counter, "", "", {}}) == "stem_tasks_started_total");
  CHECK(prometheus_name({"stem.task.duration", Type::histogram, "s", "", {}}) ==
        "stem_task_duration_seconds");
  CHECK(prometheus_name({"stem.queue.depth", Type::gauge, "", "", {}}) == "stem_queue_depth");
}

TEST_CASE("metrics: as JSON for people, lengths of time are milliseconds and instants are times") {
  const auto json = to_json(sample());
  CHECK(json["timestamp"] == "2025-01-02T03:04:05.678Z");
  CHECK(json["counters"][0] == Json{{"name", "stem.tasks.started"},
                                    {"tags", {{"task", "mail"}, {"queue", "default"}}},
                                    {"value", 7}});
  CHECK(json["gauges"][0]["value"] == "2025-01-02T03:00:05.500Z");
  CHECK(json["gauges"][1]["value"] == 250);
  CHECK(json["gauges"][1]["unit"] == "ms");
  CHECK(json["gauges"][1]["updatedAt"] == json["timestamp"]);
  const auto& histogram = json["histograms"][0];
  CHECK(histogram["count"] == 2);
  CHECK(histogram["sum"] == 10);
  CHECK(histogram["min"] == 3);
  CHECK(histogram["max"] == 7);
  CHECK(histogram["avg"] == 5);
}

TEST_CASE("metrics: a histogram without observations has no least, greatest and average") {
  MetricSnapshot snapshot;
  snapshot.family("stem.task.wait", MetricFamily::Type::histogram, "s", "")
      .points.push_back({{}, 0, Histogram().spread()});
  const auto histogram = to_json(snapshot)["histograms"][0];
  CHECK(histogram["count"] == 0);
  CHECK(histogram["min"].is_null());
  CHECK(histogram["max"].is_null());
  CHECK(histogram["avg"].is_null());
}

TEST_CASE("histogram: a length belongs to the bucket that ends with it, and beyond the last is one more") {
  Histogram histogram;
  histogram.add(-5s);
  histogram.add(5ms);
  histogram.add(5001us);
  histogram.add(3s);
  histogram.add(1h);
  const auto spread = histogram.spread();
  REQUIRE(spread.counts.size() == spread.bounds.size() + 1);
  CHECK(spread.bounds[0] == doctest::Approx(0.005));
  CHECK(spread.bounds.back() == doctest::Approx(1800));
  CHECK(spread.counts[0] == 2);
  CHECK(spread.counts[1] == 1);
  CHECK(spread.bounds[9] == doctest::Approx(3));
  CHECK(spread.counts[9] == 1);
  CHECK(spread.counts.back() == 1);
  CHECK(spread.count == 5);
  CHECK(spread.min == 0);
  CHECK(spread.max == doctest::Approx(3600));
  CHECK(spread.sum == doctest::Approx(3603.010001));
}

TEST_CASE("histogram: nothing is lost when threads count at once") {
  Histogram histogram;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&, i] {
      for (int n = 0; n < 5000; ++n) histogram.add(std::chrono::milliseconds(i + 1));
    });
  for (auto& thread : threads) thread.join();
  const auto spread = histogram.spread();
  CHECK(spread.count == 20'000);
  CHECK(spread.sum == doctest::Approx(50));
  CHECK(spread.min == doctest::Approx(0.001));
  CHECK(spread.max == doctest::Approx(0.004));
}

TEST_CASE("listen address: a bare port is one of this machine's own, another address is said in full") {
  const auto text = [](const char* said) { return ListenAddress::from(said).text(); };
  CHECK(text("9464") == "127.0.0.1:9464");
  CHECK(text(":9464") == "127.0.0.1:9464");
  CHECK(text("localhost:9464") == "127.0.0.1:9464");
  CHECK(text("[::1]:9464") == "[::1]:9464");
  CHECK(text("0.0.0.0:80") == "0.0.0.0:80");
  CHECK(text("unix:/run/stem/%n.metrics") == "unix:/run/stem/%n.metrics");
  CHECK(ListenAddress::from("127.8.8.8:1").is_local());
  CHECK(ListenAddress::from("[::1]:1").is_local());
  CHECK(ListenAddress::from("unix:/x").is_local());
  CHECK_FALSE(ListenAddress::from("0.0.0.0:1").is_local());
  CHECK_FALSE(ListenAddress::from("[::]:1").is_local());
  for (const char* wrong :
       {"", ":", "web", "web:9464", "*:9464", "65536", "-1", "9464x", "::1:9464", "[::1]", "[]:1", "1.2.3:4",
        "unix:", "unix:run/x", "unix:/run/", "http://127.0.0.1:9464", "127.0.0.1:", "[127.0.0.1]:1"}) {
    const auto failed = error_of([&] { ListenAddress::from(wrong); });
    CAPTURE(wrong);
    CHECK(failed.status == 64);
    CHECK(failed.is_one_line());
    CHECK(failed.says("unix:/PATH"));
  }
}

TEST_CASE("listen address: a wrong one in the environment names its variable") {
  const auto failed = error_of([] { Config::from({{"STEM_METRICS_LISTEN", "everywhere"}}); });
  CHECK(failed.status == 78);
  CHECK(failed.says("STEM_METRICS_LISTEN='everywhere'"));
  CHECK(failed.says("unix:/PATH"));
  CHECK(Config::from({{"STEM_METRICS_LISTEN", " 9464 "}}).metrics_listen == "9464");
}
