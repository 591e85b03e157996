#include <doctest/doctest.h>

#include <set>
#include <stem/config.hpp>
#include <stem/json.hpp>

#include "core/otlp.hpp"
#include "core/sampler.hpp"
#include "core/telemetry_config.hpp"
#include "core/trace_context.hpp"
#include "core/trace_scope.hpp"
#include "error_of.hpp"

using namespace stem;
using namespace std::chrono_literals;

namespace {

const std::string trace = "0af7651916cd43dd8448eb211c80319c", span_id = "b7ad6b7169203331";
const std::string good = "00-" + trace + "-" + span_id + "-01";

}  // namespace

TEST_CASE("trace context: a header is read, and written as it was") {
  const auto context = parse_traceparent(good);
  REQUIRE(context);
  CHECK(to_hex(context->trace) == trace);
  CHECK(to_hex(context->span) == span_id);
  CHECK(context->sampled);
  CHECK(to_traceparent(*context) == good);
  CHECK_FALSE(parse_traceparent("00-" + trace + "-" + span_id + "-00")->sampled);
  CHECK(parse_traceparent("00-" + trace + "-" + span_id + "-03")->sampled);
  CHECK_FALSE(parse_traceparent("00-" + trace + "-" + span_id + "-02")->sampled);
}

TEST_CASE("trace context: a later version may be longer, and is written as version 00") {
  const auto context = parse_traceparent("cc-" + trace + "-" + span_id + "-01-what-the-future-will-be-like");
  REQUIRE(context);
  CHECK(to_traceparent(*context) == good);
  CHECK(parse_traceparent("01-" + trace + "-" + span_id + "-01"));
  CHECK_FALSE(parse_traceparent("cc-" + trace + "-" + span_id + "-01.what"));
}

TEST_CASE("trace context: what is malformed is none, whatever it is") {
  const std::string zeros(32, '0');
  for (const auto& bad : std::vector<std::string>{"",
                                                  "0",
                                                  "00",
                                                  "00-",
                                                  good.substr(0, 54),
                                                  good + "-",
                                                  good + "-01",
                                                  good + " ",
                                                  " " + good,
                                                  "ff" + good.substr(2),
                                                  "0x" + good.substr(2),
                                                  "00-" + zeros + "-" + span_id + "-01",
                                                  "00-" + trace + "-0000000000000000-01",
                                                  "00-" + trace + "-" + span_id + "-0g",
                                                  "00-0AF7651916CD43DD8448EB211C80319C-" + span_id + "-01",
                                                  "00-" + trace + "-B7AD6B7169203331-01",
                                                  "00_" + trace + "-" + span_id + "-01",
                                                  "00-" + trace + "_" + span_id + "-01",
                                                  "00-" + trace + "-" + span_id + "_01",
                                                  "00-" + trace.substr(1) + "--" + span_id + "-01",
                                                  std::string(55, '-'),
                                                  std::string(4096, '0'),
                                                  std::string("00-") + trace + "-" + span_id +
                                                      std::string("-\0"
                                                                  "1",
                                                                  3),
                                                  "0O" + good.substr(2)})
    CHECK_MESSAGE(!parse_traceparent(bad), bad);
}

TEST_CASE("trace context: every byte that is changed to another kind makes the header malformed") {
  for (std::size_t i = 0; i < good.size(); ++i) {
    auto bad = good;
    bad[i] = bad[i] == '-' ? 'a' : '-';
    CHECK_MESSAGE(!parse_traceparent(bad), bad);
  }
}

TEST_CASE(
    "trace context: headers without a good traceparent belong to no trace; a bad tracestate is left out") {
  CHECK_FALSE(trace_context_of({}));
  CHECK_FALSE(trace_context_of({{"tracestate", "a=1"}}));
  CHECK_FALSE(trace_context_of({{"traceparent", "nonsense"}, {"tracestate", "a=1"}}));
  CHECK(trace_context_of({{"traceparent", good}, {"tracestate", "a=1,b=2"}})->state == "a=1,b=2");
  for (const auto& bad :
       {std::string("a=\n"), std::string(513, 'a') + "=", std::string("nothing"), std::string()})
    CHECK(trace_context_of({{"traceparent", good}, {"tracestate", bad}})->state.empty());
  std::string many = "a=1";
  for (int i = 0; i < 32; ++i) many += ",a" + std::to_string(i) + "=1";
  CHECK(trace_context_of({{"traceparent", good}, {"tracestate", many}})->state.empty());

  std::map<std::string, std::string> headers{{"traceparent", "bad"}, {"tracestate", "a=1"}, {"own", "kept"}};
  put_trace_context(headers, std::nullopt);
  CHECK(headers == std::map<std::string, std::string>{{"own", "kept"}});
  put_trace_context(headers, parse_traceparent(good));
  CHECK(headers == std::map<std::string, std::string>{{"own", "kept"}, {"traceparent", good}});
}

TEST_CASE("trace context: ids are of all bits, never none and never twice") {
  std::set<TraceId> traces;
  std::set<SpanId> spans;
  for (int i = 0; i < 10000; ++i) {
    traces.insert(new_trace_id());
    spans.insert(new_span_id());
  }
  CHECK(traces.size() == 10000);
  CHECK(spans.size() == 10000);
  std::set<std::uint8_t> first, last;
  for (const auto& id : traces) {
    first.insert(id.front());
    last.insert(id.back());
  }
  CHECK(first.size() > 200);
  CHECK(last.size() > 200);
}

TEST_CASE("trace scope: the innermost counts, of its own thread") {
  CHECK(TraceScope::current() == nullptr);
  TraceContext outer, inner;
  {
    const TraceScope one(outer);
    {
      const TraceScope two(inner, true);
      CHECK(&TraceScope::current()->context() == &inner);
      CHECK(TraceScope::current()->of_jobs());
    }
    CHECK(&TraceScope::current()->context() == &outer);
  }
  CHECK(TraceScope::current() == nullptr);
}

TEST_CASE("sampler: each of OpenTelemetry's says what it is to say, with and without a parent") {
  TraceContext yes, no;
  yes.sampled = true;
  const auto id = new_trace_id();
  struct Row {
    const char* name;
    bool root, below_yes, below_no;
  };
  for (const auto& row :
       {Row{"always_on", true, true, true}, Row{"always_off", false, false, false},
        Row{"parentbased_always_on", true, true, false}, Row{"parentbased_always_off", false, true, false}}) {
    const Sampler sampler(row.name, 1.0);
    CHECK_MESSAGE(sampler.samples(id, std::nullopt) == row.root, row.name);
    CHECK_MESSAGE(sampler.samples(id, yes) == row.below_yes, row.name);
    CHECK_MESSAGE(sampler.samples(id, no) == row.below_no, row.name);
  }
}

TEST_CASE(
    "sampler: a share of the traces, the same ones everywhere, and none of them lost in a larger share") {
  TraceContext yes, no;
  yes.sampled = true;
  const Sampler quarter("traceidratio", 0.25), half("traceidratio", 0.5), none("traceidratio", 0),
      all("traceidratio", 1);
  const Sampler again("traceidratio", 0.25), by_parent("parentbased_traceidratio", 0.25);
  int taken = 0;
  for (int i = 0; i < 20000; ++i) {
    const auto id = new_trace_id();
    const bool sampled = quarter.samples(id, std::nullopt);
    taken += sampled;
    CHECK(again.samples(id, no) == sampled);
    CHECK(by_parent.samples(id, yes));
    CHECK_FALSE(by_parent.samples(id, no));
    CHECK(by_parent.samples(id, std::nullopt) == sampled);
    if (sampled) CHECK(half.samples(id, std::nullopt));
    CHECK_FALSE(none.samples(id, std::nullopt));
    CHECK(all.samples(id, std::nullopt));
  }
  CHECK(taken > 4600);
  CHECK(taken < 5400);
}

TEST_CASE("otlp: a span is written as the JSON encoding has it, byte for byte") {
  Span span;
  span.context = *parse_traceparent(good);
  span.context.state = "vendor=1";
  span.parent = {1, 2, 3, 4, 5, 6, 7, 8};
  span.parent_remote = true;
  span.name = "stem.execute.\"mail\"";
  span.kind = Span::Kind::consumer;
  span.start = WallTime{1735787045678901us};
  span.end = span.start + 5ms;
  span.attributes = {
      {"s", std::string("a\xff")}, {"n", std::int64_t{-9007199254740993}}, {"d", 0.5}, {"b", true}};
  span.failed = true;
  span.error = "std::runtime_error: no";
  const auto body =
      otlp_traces(std::span(&span, 1), R"([{"key":"service.name","value":{"stringValue":"stem"}}])");
  CHECK(
      body ==
      R"({"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"stem"}}]},"scopeSpans":[{"scope":)" +
          otlp_scope() +
          R"(,"spans":[{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","traceState":"vendor=1",)"
          R"("parentSpanId":"0102030405060708","flags":769,"name":"stem.execute.\"mail\"","kind":5,)"
          R"("startTimeUnixNano":"1735787045678901000","endTimeUnixNano":"1735787045683901000","attributes":[)"
          "{\"key\":\"s\",\"value\":{\"stringValue\":\"a\xEF\xBF\xBD\"}},"
          R"({"key":"n","value":{"intValue":"-9007199254740993"}},{"key":"d","value":{"doubleValue":0.5}},{"key":"b","value":{"boolValue":true}}],)"
          R"("status":{"code":2,"message":"std::runtime_error: no"}}]}]}]})");
}

TEST_CASE("otlp: a span whose clock went back does not end before it begins, and a first one has no parent") {
  Span span;
  span.context = *parse_traceparent(good);
  span.start = WallTime{10s};
  span.end = WallTime{9s};
  const auto told =
      Json::parse(otlp_traces(std::span(&span, 1), "[]"))["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
  CHECK(told["endTimeUnixNano"] == "10000000000");
  CHECK_FALSE(told.contains("parentSpanId"));
  CHECK_FALSE(told.contains("status"));
  CHECK(told["flags"] == 257);
}

TEST_CASE("telemetry configuration: without an address nothing is told, with one spans and metrics are") {
  CHECK(telemetry_config({}) == TelemetryConfig{});
  CHECK(telemetry_config({{"STEM_BROKER_URL", "memory://x"}, {"OTEL_SERVICE_NAME", "x"}}).traces.url.empty());
  const auto both = telemetry_config({{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/"}});
  CHECK(both.traces.url == "http://collector:4318/v1/traces");
  CHECK(both.metrics.url == "http://collector:4318/v1/metrics");
  CHECK(telemetry_config({{"OTEL_EXPORTER_OTLP_ENDPOINT", "https://c/otlp"}}).traces.url ==
        "https://c/otlp/v1/traces");
  CHECK(telemetry_config({{"STEM_OTLP_ENDPOINT", "http://mine:4318/v1/metrics"},
                          {"OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"}})
            .traces.url == "http://mine:4318/v1/traces");
  const auto one = telemetry_config({{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c/as/it/is"}});
  CHECK(one.traces.url == "http://c/as/it/is");
  CHECK(one.metrics.url.empty());
  CHECK(telemetry_config({{"OTEL_TRACES_EXPORTER", "otlp"}}).traces.url == "http://localhost:4318/v1/traces");
  const auto off =
      telemetry_config({{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"}, {"OTEL_SDK_DISABLED", "TRUE"}});
  CHECK(off.traces.url.empty());
  CHECK(off.metrics.url.empty());
  const auto none =
      telemetry_config({{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"}, {"OTEL_TRACES_EXPORTER", "none"}});
  CHECK(none.traces.url.empty());
  CHECK(none.metrics.url == "http://c/v1/metrics");
}

TEST_CASE(
    "telemetry configuration: STEM_METRIC_EXPORTERS says where metrics go, and wins over "
    "OTEL_METRICS_EXPORTER") {
  const auto of = [](const std::string& list) {
    return telemetry_config({{"STEM_METRIC_EXPORTERS", list},
                             {"OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"},
                             {"OTEL_METRICS_EXPORTER", "none"}});
  };
  CHECK(of("otlp").metrics.url == "http://c/v1/metrics");
  CHECK(of("otlp:http://other:4318").metrics.url == "http://other:4318/v1/metrics");
  CHECK(of("otlp:http://other:4318/v1/metrics").metrics.url == "http://other:4318/v1/metrics");
  CHECK(of("prometheus").metrics.url.empty());
  CHECK(of("prometheus").prometheus);
  CHECK(of("console, otlp").console);
  CHECK(of("console, otlp").metrics.url == "http://c/v1/metrics");
  CHECK(of("").metrics.url.empty());
  CHECK(telemetry_config({{"STEM_METRIC_EXPORTERS", "otlp"}}).metrics.url ==
        "http://localhost:4318/v1/metrics");
  const auto unknown = of("otlp,statsd:http://u:secret@h");
  REQUIRE(unknown.warnings.size() == 1);
  CHECK(unknown.warnings[0].find("statsd") != std::string::npos);
  CHECK(unknown.warnings[0].find("secret") == std::string::npos);
  // What is ignored has not said where metrics go, or do not.
  for (const auto* list : {"otel", "prometheus:9464"}) {
    const auto typo =
        telemetry_config({{"STEM_METRIC_EXPORTERS", list}, {"OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"}});
    CHECK(typo.warnings.size() == 1);
    CHECK(typo.metrics.url == "http://c/v1/metrics");
    CHECK_FALSE(typo.prometheus);
  }
  CHECK(telemetry_config({{"STEM_METRIC_EXPORTERS", "none"}, {"OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"}})
            .metrics.url.empty());
  const auto bad = error_of([&] { of("otlp:localhost"); });
  CHECK(bad.status == 78);
  CHECK(bad.is_one_line());
  CHECK(error_of([] { telemetry_config({{"STEM_OTLP_ENDPOINT", "collector:4317"}}); }).status == 78);
}

TEST_CASE(
    "telemetry configuration: what of OTEL_ cannot be used counts as not set, with one line that says why") {
  struct Row {
    const char *name, *value, *says;
  };
  for (const auto& row : {Row{"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/json"},
                          Row{"OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "http/json"},
                          Row{"OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "whole number"},
                          Row{"OTEL_EXPORTER_OTLP_TIMEOUT", "-1", "whole number"},
                          Row{"OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "gzip"},
                          Row{"OTEL_TRACES_SAMPLER", "sometimes", "always_on"},
                          Row{"OTEL_TRACES_SAMPLER", "jaeger_remote", "always_on"},
                          Row{"OTEL_SDK_DISABLED", "yes", "true"},
                          Row{"OTEL_BSP_MAX_QUEUE_SIZE", "0", "whole number"},
                          Row{"OTEL_BSP_MAX_QUEUE_SIZE", "1", "from 2"},
                          Row{"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "x", "whole number"},
                          Row{"OTEL_BSP_SCHEDULE_DELAY", "1.5", "whole number"},
                          Row{"OTEL_METRIC_EXPORT_INTERVAL", "1", "whole number"},
                          Row{"OTEL_TRACES_EXPORTER", "zipkin", "otlp"},
                          Row{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4317", "address"},
                          Row{"OTEL_EXPORTER_OTLP_HEADERS", "nothing", "NAME=VALUE"},
                          Row{"OTEL_EXPORTER_OTLP_HEADERS", "a=%0d%0aevil: 1", "NAME=VALUE"},
                          Row{"OTEL_EXPORTER_OTLP_HEADERS", "a b=1", "NAME=VALUE"},
                          Row{"OTEL_EXPORTER_OTLP_HEADERS", "a=%zz", "NAME=VALUE"},
                          Row{"OTEL_RESOURCE_ATTRIBUTES", "a=1,b", "NAME=VALUE"}}) {
    auto told = telemetry_config({{row.name, row.value}, {"OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"}});
    const std::string what = std::string(row.name) + "=" + row.value;
    REQUIRE_MESSAGE(told.warnings.size() == 1, what);
    CHECK_MESSAGE(told.warnings[0].starts_with(row.name), told.warnings[0]);
    CHECK_MESSAGE(told.warnings[0].find(row.says) != std::string::npos, told.warnings[0]);
    CHECK_MESSAGE(told.warnings[0].find('\n') == std::string::npos, told.warnings[0]);
    told.warnings.clear();
    CHECK_MESSAGE(told == telemetry_config({{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"}}), what);
  }
  const auto share =
      telemetry_config({{"OTEL_TRACES_SAMPLER", "traceidratio"}, {"OTEL_TRACES_SAMPLER_ARG", "2"}});
  CHECK(share.warnings.size() == 1);
  CHECK(share.sampled_share == 1.0);
}

TEST_CASE("telemetry configuration: no part of a header's value is in a warning") {
  const auto told = telemetry_config({{"OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%2xhunter2"}});
  REQUIRE(told.warnings.size() == 1);
  CHECK(told.warnings[0].find("hunter2") == std::string::npos);
}

TEST_CASE("telemetry configuration: every value arrives") {
  const auto config =
      telemetry_config({{"OTEL_EXPORTER_OTLP_ENDPOINT", "https://c"},
                        {"OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Bearer%20x, x-tenant = a%2Cb"},
                        {"OTEL_EXPORTER_OTLP_TIMEOUT", "2500"},
                        {"OTEL_EXPORTER_OTLP_COMPRESSION", "GZIP"},
                        {"OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"},
                        {"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/c.pem"},
                        {"OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k.pem"},
                        {"OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"},
                        {"OTEL_SERVICE_NAME", "mail"},
                        {"OTEL_RESOURCE_ATTRIBUTES", "service.name=other,deployment.environment=test%20bed"},
                        {"OTEL_TRACES_SAMPLER", "parentbased_traceidratio"},
                        {"OTEL_TRACES_SAMPLER_ARG", "0.25"},
                        {"OTEL_BSP_MAX_QUEUE_SIZE", "100"},
                        {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "200"},
                        {"OTEL_BSP_SCHEDULE_DELAY", "10"},
                        {"OTEL_METRIC_EXPORT_INTERVAL", "1000"}});
  CHECK(config.warnings.empty());
  CHECK(config.traces.headers ==
        std::map<std::string, std::string>{{"authorization", "Bearer x"}, {"x-tenant", "a,b"}});
  CHECK(config.traces.timeout == 2500ms);
  CHECK(config.traces.gzip);
  CHECK(config.traces.certificate == "/ca.pem");
  CHECK(config.traces.client_certificate == "/c.pem");
  CHECK(config.traces.client_key == "/k.pem");
  CHECK(config.metrics.headers == config.traces.headers);
  CHECK(config.service_name == "mail");
  CHECK(config.resource == std::map<std::string, std::string>{{"deployment.environment", "test bed"}});
  CHECK(config.sampler == "parentbased_traceidratio");
  CHECK(config.sampled_share == 0.25);
  CHECK(config.span_queue == 100);
  CHECK(config.span_batch == 100);  // a batch is no larger than the queue
  CHECK(config.span_delay == 10ms);
  CHECK(config.metric_interval == 1s);
  CHECK(telemetry_config({{"OTEL_EXPORTER_OTLP_ENDPOINT", "https://c"}, {"OTEL_EXPORTER_OTLP_TIMEOUT", "0"}})
            .traces.timeout == 1min);
}

TEST_CASE("telemetry configuration: what is said for one signal wins there, and counts for no other") {
  const auto config = telemetry_config({{"OTEL_EXPORTER_OTLP_ENDPOINT", "https://c"},
                                        {"OTEL_EXPORTER_OTLP_HEADERS", "a=1,b=2"},
                                        {"OTEL_EXPORTER_OTLP_TIMEOUT", "2500"},
                                        {"OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"},
                                        {"OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"},
                                        {"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/c.pem"},
                                        {"OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k.pem"},
                                        {"OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a=3"},
                                        {"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "100"},
                                        {"OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "none"},
                                        {"OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE", "/ca2.pem"},
                                        {"OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE", "/c2.pem"},
                                        {"OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY", "/k2.pem"}});
  CHECK(config.warnings.empty());
  CollectorConfig traces{.url = "https://c/v1/traces",
                         .headers = {{"a", "3"}},
                         .certificate = "/ca.pem",
                         .client_certificate = "/c.pem",
                         .client_key = "/k.pem",
                         .gzip = false,
                         .timeout = 100ms};
  CHECK(config.traces == traces);
  CollectorConfig metrics{.url = "https://c/v1/metrics",
                          .headers = {{"a", "1"}, {"b", "2"}},
                          .certificate = "/ca2.pem",
                          .client_certificate = "/c2.pem",
                          .client_key = "/k2.pem",
                          .gzip = true,
                          .timeout = 2500ms};
  CHECK(config.metrics == metrics);
}

TEST_CASE("telemetry configuration: a certificate and its key go together, of one signal or of all") {
  Environment environment{{"OTEL_EXPORTER_OTLP_ENDPOINT", "https://c"},
                          {"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/c.pem"},
                          {"OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "/t.pem"}};
  const auto half = telemetry_config(environment);
  CHECK(half.traces.client_certificate == "/c.pem");
  CHECK(half.traces.client_key == "/t.pem");
  CHECK(half.metrics.client_certificate == "");
  REQUIRE(half.warnings.size() == 1);
  CHECK(half.warnings[0] ==
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE='/c.pem' is ignored: for metrics there is no "
        "OTEL_EXPORTER_OTLP_CLIENT_KEY");
  auto no_metrics = environment;
  no_metrics["OTEL_METRICS_EXPORTER"] = "none";
  CHECK(telemetry_config(no_metrics).warnings.empty());
  environment["OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY"] = "/m.pem";
  const auto whole = telemetry_config(environment);
  CHECK(whole.warnings.empty());
  CHECK(whole.metrics.client_certificate == "/c.pem");
  CHECK(whole.metrics.client_key == "/m.pem");
  const auto lone = telemetry_config(
      {{"OTEL_EXPORTER_OTLP_ENDPOINT", "https://c"}, {"OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k.pem"}});
  CHECK(lone.warnings.size() == 2);
  CHECK(lone.traces.client_key == "");
  CHECK(lone.metrics.client_key == "");
}

TEST_CASE("telemetry configuration: what one signal cannot use leaves it with what is said for both") {
  for (const auto& [name, value] :
       std::map<std::string, std::string>{{"OTEL_EXPORTER_OTLP_TRACES_HEADERS", "nothing"},
                                          {"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "10s"},
                                          {"OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "zstd"},
                                          {"OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc"},
                                          {"OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "/k.pem"}}) {
    const Environment both{{"OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"},
                           {"OTEL_EXPORTER_OTLP_HEADERS", "a=1"},
                           {"OTEL_EXPORTER_OTLP_TIMEOUT", "2500"},
                           {"OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"}};
    auto environment = both;
    environment[name] = value;
    auto told = telemetry_config(environment);
    REQUIRE_MESSAGE(told.warnings.size() == 1, name);
    CHECK_MESSAGE(told.warnings[0].starts_with(name), told.warnings[0]);
    told.warnings.clear();
    CHECK_MESSAGE(told == telemetry_config(both), name);
  }
}

TEST_CASE(
    "configuration: headers for a collector are a secret with a credential of their own, and addresses are "
    "shown without a password") {
  for (const auto& setting : settings()) {
    if (setting.name == "OTEL_EXPORTER_OTLP_HEADERS") {
      CHECK(setting.credential() == "stem.exporter-otlp-headers");
      CHECK(setting.shown("authorization=hunter2") == "***");
    }
    if (setting.name == "OTEL_EXPORTER_OTLP_TRACES_HEADERS") {
      CHECK(setting.credential() == "stem.exporter-otlp-traces-headers");
      CHECK(setting.shown("authorization=hunter2") == "***");
    }
    if (setting.name == "STEM_OTLP_ENDPOINT" || setting.name == "OTEL_EXPORTER_OTLP_ENDPOINT")
      CHECK(setting.shown("https://u:hunter2@c:4318").find("hunter2") == std::string::npos);
    if (setting.name == "STEM_METRIC_EXPORTERS")
      CHECK(setting.shown("otlp:https://u:hunter2@c").find("hunter2") == std::string::npos);
  }
}
