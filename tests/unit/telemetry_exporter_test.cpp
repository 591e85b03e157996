#include <doctest/doctest.h>
#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <mutex>

#include "collector.hpp"
#include "core/otlp.hpp"
#include "error_of.hpp"
#include "telemetry/enqueue_span.hpp"
#include "telemetry/exporter.hpp"
#include "telemetry/gzip.hpp"

using namespace stem;
using namespace std::chrono_literals;

namespace {

/// An exporter, and what it says of itself.
struct Told {
  mutable std::mutex mutex;
  std::vector<std::pair<bool, std::string>> lines;

  ExporterReport report() {
    return [this](bool good, const std::string& line) {
      const std::lock_guard lock(mutex);
      lines.emplace_back(good, line);
    };
  }
  std::vector<std::pair<bool, std::string>> all() const {
    const std::lock_guard lock(mutex);
    return lines;
  }
};

TelemetryConfig config_for(const std::string& url) {
  TelemetryConfig config;
  config.traces.url = url + "/v1/traces";
  config.span_delay = 5ms;
  config.traces.timeout = 5s;
  return config;
}

Span a_span(int number = 0) {
  Span span;
  span.context.trace = new_trace_id();
  span.context.span = new_span_id();
  span.context.sampled = true;
  span.name = "stem.test";
  span.start = span.end = Clock::system().wall();
  span.attributes = {{"n", std::int64_t{number}}};
  return span;
}

template <class Holds>
void wait_until(Holds holds) {
  const auto deadline = std::chrono::steady_clock::now() + 30s;
  while (!holds()) {
    REQUIRE(std::chrono::steady_clock::now() < deadline);
    poll(nullptr, 0, 2);
  }
}

}  // namespace

TEST_CASE("exporter: spans arrive in batches, as OTLP's JSON, with the headers that were asked for") {
  Collector collector;
  auto config = config_for(collector.url());
  config.traces.headers = {{"authorization", "Bearer x"}, {"empty", ""}, {"content-type", "text/plain"}};
  config.span_batch = 10;
  config.span_delay = 50ms;
  {
    Exporter exporter(config, R"([{"key":"service.name","value":{"stringValue":"test"}}])");
    for (int i = 0; i < 25; ++i) exporter.add(a_span(i));
    REQUIRE(collector.await_spans(25));
    wait_until([&] { return exporter.waiting() == 0; });
    CHECK(exporter.dropped().spans == 0);
  }
  const auto requests = collector.requests();
  CHECK(requests.size() >= 3);
  std::set<std::string> numbers;
  for (const auto& request : requests) {
    CHECK(request.path == "/v1/traces");
    CHECK(request.headers.at("content-type") == "application/json");
    CHECK(request.headers.at("authorization") == "Bearer x");
    CHECK(request.headers.at("empty").empty());
    CHECK(request.headers.at("user-agent").starts_with("OTel-OTLP-Exporter-Stem/"));
    CHECK_FALSE(request.headers.contains("expect"));
    CHECK(fault_of_traces(Json::parse(request.body)).empty());
  }
  for (const auto& span : collector.spans()) {
    numbers.insert(Collector::attributes(span)["n"].get<std::string>());
    CHECK(span["resource"]["service.name"] == "test");
  }
  CHECK(numbers.size() == 25);
}

TEST_CASE("exporter: a request that is compressed is what it was, packed") {
  Collector collector;
  auto config = config_for(collector.url());
  config.traces.gzip = true;
  Exporter exporter(config, "[]");
  const auto span = a_span(7);
  const auto plain = otlp_traces(std::span(&span, 1), "[]");
  exporter.add(Span(span));
  REQUIRE(collector.await(1));
  const auto request = collector.requests().front();
  CHECK(request.headers.at("content-encoding") == "gzip");
  CHECK(request.body == gzip(plain));
  CHECK(request.body.starts_with("\x1f\x8b"));
}

TEST_CASE(
    "exporter: what goes beyond the queue is dropped and counted, whoever has something to tell is never "
    "held up") {
  Collector collector;
  collector.reply_with({.hang = true});
  auto config = config_for(collector.url());
  config.span_queue = 100;
  config.span_batch = 10;
  config.traces.timeout = 60s;
  Exporter exporter(config, "[]");
  exporter.add(a_span());
  REQUIRE(collector.await(1));
  const auto begun = std::chrono::steady_clock::now();
  for (int i = 0; i < 10'000; ++i) exporter.add(a_span(i));
  CHECK(std::chrono::steady_clock::now() - begun < 5s);
  CHECK(exporter.waiting() == 100);
  CHECK(exporter.dropped().spans == 9'901);
  CHECK_FALSE(exporter.room(3));
  CHECK(exporter.dropped().spans == 9'904);
}

TEST_CASE("exporter: a collector that is down is warned of once; when it is back, so is what waited") {
  Told told;
  Collector collector;
  collector.stop();
  Exporter exporter(config_for(collector.url()), "[]", told.report());
  for (int i = 0; i < 5; ++i) exporter.add(a_span(i));
  wait_until([&] { return !told.all().empty(); });
  for (int i = 5; i < 10; ++i) exporter.add(a_span(i));
  collector.start();
  REQUIRE(collector.await_spans(10));
  wait_until([&] { return told.all().size() == 2; });
  const auto lines = told.all();
  CHECK_FALSE(lines[0].first);
  CHECK(lines[0].second.starts_with("the collector does not take spans at " + collector.url() +
                                    "/v1/traces: "));
  CHECK(lines[1].first);
  CHECK(lines[1].second == "the collector takes spans at " + collector.url() + "/v1/traces again");
  CHECK(exporter.dropped().spans == 0);
}

TEST_CASE("exporter: an answer that is final drops the batch, with one warning for as long as it goes on") {
  for (const int status : {400, 401, 404, 413, 500, 301}) {
    Told told;
    Collector collector;
    collector.reply_with({.status = status, .headers = "Location: /elsewhere\r\n"});
    Exporter exporter(config_for(collector.url()), "[]", told.report());
    exporter.add(a_span());
    wait_until([&] { return exporter.dropped().spans == 1; });
    exporter.add(a_span());
    wait_until([&] { return exporter.dropped().spans == 2; });
    CHECK(exporter.waiting() == 0);
    CHECK(collector.count() == 2);
    REQUIRE(told.all().size() == 1);
    CHECK(told.all()[0].second.find("it answers " + std::to_string(status)) != std::string::npos);
    collector.reply_with(Collector::Reply{});
    exporter.add(a_span());
    wait_until([&] { return told.all().size() == 2; });
    CHECK(told.all()[1].second.ends_with("again, 2 spans were dropped meanwhile"));
  }
}

TEST_CASE("exporter: an answer that passes is tried again, not before the collector wants it") {
  for (const int status : {429, 502, 503, 504}) {
    Collector collector;
    std::atomic<int> asked{0};
    std::atomic<std::int64_t> first{0}, second{0};
    const auto now = [] { return std::chrono::steady_clock::now().time_since_epoch().count(); };
    collector.reply_with([&](const Collector::Request&) {
      if (++asked == 1) {
        first = now();
        return Collector::Reply{.status = status, .headers = "Retry-After: 2\r\n"};
      }
      second = now();
      return Collector::Reply{};
    });
    Exporter exporter(config_for(collector.url()), "[]");
    exporter.add(a_span());
    REQUIRE(collector.await_spans(1));
    CHECK(std::chrono::nanoseconds{second - first} >= 1900ms);
    CHECK(exporter.dropped().spans == 0);
    wait_until([&] { return exporter.waiting() == 0; });
  }
}

TEST_CASE("exporter: without a wish of the collector's, pauses are of about a second, and not all the same") {
  Collector collector;
  collector.reply_with({.status = 503});
  std::vector<std::unique_ptr<Exporter>> exporters;
  const auto begun = std::chrono::steady_clock::now();
  for (int i = 0; i < 5; ++i) {
    exporters.push_back(std::make_unique<Exporter>(config_for(collector.url()), "[]"));
    exporters.back()->add(a_span());
  }
  REQUIRE(collector.await(10));
  CHECK(std::chrono::steady_clock::now() - begun >= 500ms);
  for (auto& exporter : exporters) {
    CHECK(exporter->waiting() == 1);
    CHECK(exporter->dropped().spans == 0);
  }
}

TEST_CASE(
    "exporter: a collector that hangs ends a request by its time, and one that is cut off is tried again") {
  Told told;
  Collector collector;
  std::atomic<int> asked{0};
  collector.reply_with([&](const Collector::Request&) {
    switch (asked++) {
      case 0:
        return Collector::Reply{.hang = true};
      case 1:
        return Collector::Reply{.cut = true};
      case 2:
        return Collector::Reply{.close_early = true};
      default:
        return Collector::Reply{};
    }
  });
  auto config = config_for(collector.url());
  config.traces.timeout = 200ms;
  Exporter exporter(config, "[]", told.report());
  exporter.add(a_span());
  REQUIRE(collector.await_spans(1));
  CHECK(asked >= 4);
  wait_until([&] { return told.all().size() == 2; });
  CHECK(told.all()[0].second.find("imed out") != std::string::npos);
  CHECK(exporter.dropped().spans == 0);
}

TEST_CASE("exporter: an answer without an end is left, and takes no memory") {
  Told told;
  Collector collector;
  collector.reply_with({.endless = true});
  Exporter exporter(config_for(collector.url()), "[]", told.report());
  exporter.add(a_span());
  wait_until([&] { return exporter.dropped().spans == 1; });
  wait_until([&] { return told.all().size() == 1; });
  CHECK(told.all()[0].second.find("its answer does not end") != std::string::npos);
}

TEST_CASE("exporter: what a collector rejects of a batch is counted, and what it says of it is told") {
  Told told;
  Collector collector;
  collector.reply_with(
      {.body = R"({"partialSuccess":{"rejectedSpans":"2","errorMessage":"too \u001b[31mlong"}})"});
  Exporter exporter(config_for(collector.url()), "[]", told.report());
  exporter.add(a_span());
  wait_until([&] { return exporter.dropped().spans == 2; });
  wait_until([&] { return told.all().size() == 1; });
  CHECK(told.all()[0].second.find("it rejects 2 of 1: too \\x1b[31mlong") != std::string::npos);
}

TEST_CASE("exporter: an answer that is no JSON, or odd JSON, is an answer") {
  for (const auto* body :
       {"", "ok", "[]", "null", "{\"partialSuccess\":7}", "{\"partialSuccess\":{\"rejectedSpans\":-1}}",
        "{\"partialSuccess\":{\"rejectedSpans\":{},\"errorMessage\":1}}"}) {
    Collector collector;
    collector.reply_with({.body = body});
    Exporter exporter(config_for(collector.url()), "[]");
    exporter.add(a_span());
    REQUIRE(collector.await_spans(1));
    wait_until([&] { return exporter.waiting() == 0; });
    CHECK(exporter.dropped().spans == 0);
  }
}

TEST_CASE("exporter: at the end what waits is sent, in the time there is") {
  Collector collector;
  auto config = config_for(collector.url());
  config.span_delay = 1h;
  config.span_batch = 10;
  Exporter exporter(config, "[]");
  for (int i = 0; i < 9; ++i) exporter.add(a_span(i));
  exporter.finish(20s);
  CHECK(collector.spans().size() == 9);
  CHECK(exporter.dropped().spans == 0);
  exporter.add(a_span());
  CHECK(exporter.dropped().spans == 1);
  exporter.finish(1s);
}

TEST_CASE("exporter: a collector that hangs, or is not there, holds up the end no longer than it may") {
  for (const bool there : {true, false}) {
    Told told;
    Collector collector;
    collector.reply_with({.hang = true});
    if (!there) collector.stop();
    auto config = config_for(collector.url());
    config.traces.timeout = 60s;
    Exporter exporter(config, "[]", told.report());
    exporter.add(a_span());
    if (there) REQUIRE(collector.await(1));
    const auto begun = std::chrono::steady_clock::now();
    exporter.finish(300ms);
    CHECK(std::chrono::steady_clock::now() - begun < 5s);
    CHECK(exporter.dropped().spans == 1);
    CHECK(exporter.waiting() == 0);
  }
}

TEST_CASE(
    "exporter: metrics are asked for each interval and once more at the end; what fails is not sent again") {
  Told told;
  Collector collector;
  TelemetryConfig config;
  config.metrics.url = collector.url() + "/v1/metrics";
  config.metric_interval = 20ms;
  std::atomic<int> asked{0};
  Exporter exporter(config, "[]", told.report());
  exporter.tell_metrics([&] { return MetricsRequest{"{\"n\":" + std::to_string(++asked) + "}", 3}; });
  REQUIRE(collector.await(3));
  collector.reply_with({.status = 503});
  wait_until([&] { return exporter.dropped().points > 0; });
  CHECK(exporter.dropped().points % 3 == 0);
  collector.reply_with(Collector::Reply{});
  wait_until([&] { return told.all().size() == 2; });
  CHECK(told.all()[1].second.find("points were dropped meanwhile") != std::string::npos);
  exporter.finish(10s);
  const auto requests = collector.requests();
  CHECK(Json::parse(requests.back().body)["n"] == asked.load());
  std::set<std::string> bodies;
  for (const auto& request : requests) CHECK(bodies.insert(request.body).second);
}

TEST_CASE("exporter: nobody is asked for metrics once they are forgotten") {
  Collector collector;
  TelemetryConfig config;
  config.metrics.url = collector.url() + "/v1/metrics";
  config.metric_interval = 1ms;
  Exporter exporter(config, "[]");
  std::atomic<bool> alive{true};
  std::atomic<int> asked{0}, wrong{0};
  exporter.tell_metrics([&] {
    if (!alive) ++wrong;
    ++asked;
    return MetricsRequest{"{}", 1};
  });
  wait_until([&] { return asked > 3; });
  exporter.forget_metrics();
  alive = false;
  exporter.finish(1s);
  CHECK(wrong == 0);
}

TEST_CASE("exporter: an address with a password is told of without it") {
  Told told;
  Collector collector;
  collector.stop();
  auto config = config_for("http://user:hunter2@127.0.0.1:" + std::to_string(collector.port()));
  Exporter exporter(config, "[]", told.report());
  exporter.add(a_span());
  wait_until([&] { return told.all().size() == 1; });
  CHECK(told.all()[0].second.find("hunter2") == std::string::npos);
}

TEST_CASE("exporter: text of any length is cut, so that neither the queue nor a batch grows with it") {
  Collector collector;
  Exporter exporter(config_for(collector.url()), "[]");
  auto span = a_span();
  std::string umlauts;
  while (umlauts.size() < (1U << 20)) umlauts += "ä";
  span.name = umlauts;
  span.failed = true;
  span.error = umlauts;
  span.attributes = {{"odd", "x" + umlauts},
                     {"even", umlauts},
                     {"short", std::string("ä")},
                     {"bytes", std::string(5000, '\x80')}};
  exporter.add(std::move(span));
  REQUIRE(collector.await(1));
  const auto body = collector.requests().front().body;
  CHECK(fault_of_traces(Json::parse(body)).empty());
  CHECK(body.size() < 20'000);
  const auto told = collector.spans()[0];
  auto attributes = Collector::attributes(told);
  CHECK(told["name"].get<std::string>() == umlauts.substr(0, 1024) + "…");
  CHECK(attributes["even"] == umlauts.substr(0, 1024) + "…");
  CHECK(attributes["odd"] == "x" + umlauts.substr(0, 1022) + "…");
  CHECK(attributes["short"] == "ä");
}

TEST_CASE("exporter: at the end, what a collector refuses keeps it from nothing that it takes") {
  Collector collector;
  collector.reply_with([](const Collector::Request& request) {
    return Collector::Reply{.status = request.path == "/v1/traces" ? 404 : 200};
  });
  auto config = config_for(collector.url());
  config.metrics.url = collector.url() + "/v1/metrics";
  config.span_delay = config.metric_interval = 1h;
  config.span_batch = 2;
  config.span_queue = 10;
  Exporter exporter(config, "[]");
  exporter.tell_metrics([] { return MetricsRequest{"{}", 3}; });
  for (int i = 0; i < 3; ++i) exporter.add(a_span(i));
  exporter.finish(20s);
  int spans = 0, metrics = 0;
  for (const auto& request : collector.requests()) ++(request.path == "/v1/traces" ? spans : metrics);
  CHECK(spans == 2);
  CHECK(metrics == 1);
  CHECK(exporter.dropped().spans == 3);
  CHECK(exporter.dropped().points == 0);
}

TEST_CASE("exporter: what found no room while the collector was away is told with the rest") {
  Told told;
  Collector collector;
  collector.reply_with({.status = 503, .headers = "Retry-After: 1\r\n"});
  auto config = config_for(collector.url());
  config.span_queue = config.span_batch = 10;
  Exporter exporter(config, "[]", told.report());
  exporter.add(a_span());
  wait_until([&] { return told.all().size() == 1; });
  for (int i = 0; i < 30; ++i) exporter.add(a_span(i));
  CHECK(exporter.dropped().spans == 21);
  collector.reply_with(Collector::Reply{});
  wait_until([&] { return told.all().size() == 2; });
  CHECK(told.all()[1].second.ends_with("again, 21 spans were dropped meanwhile"));
}

TEST_CASE(
    "exporter: a batch that may not be sent before it is given up is dropped at once, and the next one "
    "waits") {
  Collector collector;
  collector.reply_with({.status = 429, .headers = "Retry-After: 90\r\n"});
  Exporter exporter(config_for(collector.url()), "[]");
  exporter.add(a_span());
  wait_until([&] { return exporter.dropped().spans == 1; });
  exporter.add(a_span());
  poll(nullptr, 0, 300);
  CHECK(collector.count() == 1);
  CHECK(exporter.waiting() == 1);
  exporter.finish(20s);  // for the end there is no waiting
  CHECK(collector.count() == 2);
}

TEST_CASE("exporter: metrics are not sent again before the collector wants it") {
  Collector collector;
  std::atomic<int> asked{0};
  std::atomic<std::int64_t> first{0}, second{0};
  const auto now = [] { return std::chrono::steady_clock::now().time_since_epoch().count(); };
  collector.reply_with([&](const Collector::Request&) {
    if (++asked > 1) {
      if (asked == 2) second = now();
      return Collector::Reply{};
    }
    first = now();
    return Collector::Reply{.status = 503, .headers = "Retry-After: 2\r\n"};
  });
  TelemetryConfig config;
  config.metrics.url = collector.url() + "/v1/metrics";
  config.metric_interval = 20ms;
  Exporter exporter(config, "[]");
  exporter.tell_metrics([] { return MetricsRequest{"{}", 1}; });
  wait_until([&] { return second != 0; });
  CHECK(std::chrono::nanoseconds{second - first} >= 1900ms);
}

TEST_CASE("exporter: without a thread nothing is told, that is said, and nobody is kept from work") {
  Told told;
  Collector collector;
  pthread_attr_t usual, huge;
  REQUIRE(pthread_getattr_default_np(&usual) == 0);
  REQUIRE(pthread_attr_init(&huge) == 0);
  REQUIRE(pthread_attr_setstacksize(&huge, std::size_t{1} << 46) == 0);
  REQUIRE(pthread_setattr_default_np(&huge) == 0);
  sigset_t before, after;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  std::unique_ptr<Exporter> exporter;
  std::string thrown;
  try {
    exporter = std::make_unique<Exporter>(config_for(collector.url()), "[]", told.report());
  } catch (const std::exception& error) {
    thrown = error.what();
  }
  pthread_setattr_default_np(&usual);
  pthread_attr_destroy(&huge);
  pthread_attr_destroy(&usual);
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  CHECK(sigismember(&before, SIGTERM) == sigismember(&after, SIGTERM));
  CHECK(thrown.empty());
  REQUIRE(exporter);
  REQUIRE(told.all().size() == 1);
  CHECK(told.all()[0].second.starts_with("a collector is told nothing, for want of a thread: "));
  exporter->add(a_span());
  CHECK_FALSE(exporter->room());
  CHECK(exporter->dropped().spans == 2);
  CHECK_FALSE(exporter->finished());
  exporter->finish(1s);
}

TEST_CASE("exporter: who asks later what it has to say hears what is still so") {
  Told told;
  Collector collector;
  collector.reply_with({.status = 404});
  Exporter exporter(config_for(collector.url()), "[]");
  exporter.add(a_span());
  wait_until([&] { return exporter.dropped().spans == 1; });
  exporter.add(a_span());
  wait_until([&] { return exporter.dropped().spans == 2; });  // so the first was noted
  exporter.report_to(told.report());
  REQUIRE(told.all().size() == 1);
  CHECK(told.all()[0].second.find("it answers 404") != std::string::npos);
  collector.reply_with(Collector::Reply{});
  exporter.add(a_span());
  wait_until([&] { return told.all().size() == 2; });
}

TEST_CASE("spans: an error is bounded, whole characters, without passwords") {
  CHECK(span_error("std::runtime_error", "no") == "std::runtime_error: no");
  CHECK(span_error("e", "cannot reach redis://app:hunter2@h:1/0").find("hunter2") == std::string::npos);
  std::string umlauts;
  for (int i = 0; i < 100'000; ++i) umlauts += "ä";
  const auto cut = span_error("e", umlauts);
  CHECK(cut.size() <= 260);
  CHECK(Json(cut).dump().size() > 200);  // throws if a character was cut in two
  CHECK(cut.ends_with("…"));
}
