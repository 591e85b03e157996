#include "core/telemetry_config.hpp"

#include <algorithm>
#include <stem/error.hpp>

#include "core/name.hpp"
#include "core/otel_variables.hpp"
#include "core/redaction.hpp"
#include "core/setting_value.hpp"

namespace stem {
namespace {

using std::chrono::milliseconds;

constexpr const char* local_collector =
    "http://localhost:4318";  // "OpenTelemetry Protocol Exporter", Endpoint (OTLP/HTTP)
constexpr int longest_ms = 24 * 3600 * 1000;

/// `base` with `path` appended, without doubling a slash: "OpenTelemetry Protocol Exporter", Endpoint URLs
/// for OTLP/HTTP.
std::string signal_url(std::string base, const char* path) {
  if (base.empty()) return base;
  while (base.ends_with('/')) base.pop_back();
  return base + path;
}

/// An address of STEM_*, where the signal's path may be given or not.
std::string base_url(const char* name, std::string url) {
  if (!OtelVariables::is_address(url))
    throw Error(Exit::config, std::string(name) + ": must hold an address such as http://HOST:4318");
  while (url.ends_with('/')) url.pop_back();
  for (const std::string_view path : {"/v1/metrics", "/v1/traces"})
    if (url.ends_with(path)) url.resize(url.size() - path.size());
  return url;
}

struct MetricExporters {
  bool given = false, otlp = false;
  std::string address;
};

MetricExporters metric_exporters(OtelVariables& reader, TelemetryConfig& config) {
  constexpr auto name = "STEM_METRIC_EXPORTERS";
  MetricExporters exporters;
  for (const auto& item : reader.items(name)) {
    const auto kind = setting_value::lower(item.substr(0, item.find(':')));
    const bool alone = kind.size() == item.size();
    const bool known =
        kind == "otlp" || (alone && (kind == "prometheus" || kind == "console" || kind == "none"));
    exporters.given = exporters.given || known;
    if (kind == "otlp") {
      exporters.otlp = true;
      if (const auto colon = item.find(':'); colon != item.npos)
        exporters.address = base_url(name, item.substr(colon + 1));
    } else if (!known) {
      config.warnings.push_back(std::string(name) + ": there is no exporter '" + redacted(printable(item)) +
                                "', it is ignored; there are otlp, otlp:URL, prometheus and console");
    } else {
      config.prometheus = config.prometheus || kind == "prometheus";
      config.console = config.console || kind == "console";
    }
  }
  return exporters;
}

const std::string of_all = "OTEL_EXPORTER_OTLP_";

/// What PREFIX_HEADERS and the others say; what they do not say is that of `otherwise`.
CollectorConfig collector(OtelVariables& reader, const std::string& prefix,
                          const CollectorConfig& otherwise) {
  CollectorConfig config = otherwise;
  const auto protocol = prefix + "PROTOCOL";
  if (const auto word = setting_value::lower(reader.text(protocol)); !word.empty() && word != "http/json")
    reader.ignore(protocol,
                  "Stem speaks http/json; give the address of the collector's HTTP port, mostly 4318");
  if (auto headers = reader.pairs(prefix + "HEADERS", true)) config.headers = std::move(*headers);
  const auto path = [&](const char* what, std::string& value) {
    if (auto text = reader.text(prefix + what); !text.empty()) value = std::move(text);
  };
  path("CERTIFICATE", config.certificate);
  path("CLIENT_CERTIFICATE", config.client_certificate);
  path("CLIENT_KEY", config.client_key);
  if (const auto word = reader.word(prefix + "COMPRESSION", {"gzip", "none"}); !word.empty())
    config.gzip = word == "gzip";
  // 0 is for ever by the specification, which allows a long time in its place. A request for ever would be a
  // leak.
  if (const auto timeout = reader.number(prefix + "TIMEOUT", 0, longest_ms))
    config.timeout = milliseconds{*timeout == 0 ? 60'000 : *timeout};
  return config;
}

/// A certificate without its key, or a key without its certificate, is left out. One of them may be the
/// signal's own, and the other that of all.
void pair_up(OtelVariables& reader, const std::string& signal, CollectorConfig& config) {
  if (config.url.empty() || config.client_certificate.empty() == config.client_key.empty()) return;
  const bool lone_key = config.client_certificate.empty();
  const std::string lone = lone_key ? "CLIENT_KEY" : "CLIENT_CERTIFICATE";
  const std::string missing = lone_key ? "CLIENT_CERTIFICATE" : "CLIENT_KEY";
  const auto own = of_all + signal + "_";
  const auto from = reader.text(own + lone).empty() ? of_all : own;
  reader.ignore(from + lone, "for " + setting_value::lower(signal) + " there is no " + from + missing);
  config.client_certificate.clear();
  config.client_key.clear();
}

std::size_t size(std::optional<int> number, std::size_t otherwise) {
  return number ? static_cast<std::size_t>(*number) : otherwise;
}

}  // namespace

TelemetryConfig telemetry_config(const Environment& environment) {
  TelemetryConfig config;
  // Most processes have none of it.
  const auto any = [&](const char* prefix) {
    const auto first = environment.lower_bound(prefix);
    return first != environment.end() && first->first.starts_with(prefix);
  };
  if (!any("OTEL_") && !any("STEM_OTLP_ENDPOINT") && !any("STEM_METRIC_EXPORTERS")) return config;
  OtelVariables reader(environment, config.warnings);

  const auto metrics = metric_exporters(reader, config);
  std::string base = reader.text("STEM_OTLP_ENDPOINT");
  if (!base.empty()) base = base_url("STEM_OTLP_ENDPOINT", base);
  const auto general = reader.address("OTEL_EXPORTER_OTLP_ENDPOINT");
  if (base.empty()) base = general;
  const auto traces_to = reader.word("OTEL_TRACES_EXPORTER", {"otlp", "none"});
  const auto metrics_to = reader.word("OTEL_METRICS_EXPORTER", {"otlp", "none"});

  const auto both = collector(reader, of_all, {});
  config.traces = collector(reader, of_all + "TRACES_", both);
  config.metrics = collector(reader, of_all + "METRICS_", both);

  auto& spans_to = config.traces.url = reader.address("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
  if (spans_to.empty())
    spans_to = signal_url(base.empty() && traces_to == "otlp" ? local_collector : base, "/v1/traces");
  if (traces_to == "none") spans_to.clear();

  auto& points_to = config.metrics.url = reader.address("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT");
  if (!metrics.address.empty()) points_to = signal_url(metrics.address, "/v1/metrics");
  const bool asked_for = metrics.otlp || (!metrics.given && metrics_to == "otlp");
  if (points_to.empty())
    points_to = signal_url(base.empty() && asked_for ? local_collector : base, "/v1/metrics");
  if (metrics.given ? !metrics.otlp : metrics_to == "none") points_to.clear();

  if (const auto sampler = reader.word("OTEL_TRACES_SAMPLER",
                                       {"always_on", "always_off", "traceidratio", "parentbased_always_on",
                                        "parentbased_always_off", "parentbased_traceidratio"});
      !sampler.empty())
    config.sampler = sampler;
  if (config.sampler.ends_with("traceidratio"))
    config.sampled_share = reader.share("OTEL_TRACES_SAMPLER_ARG").value_or(config.sampled_share);
  // An attempt has two spans, which are told together or not at all.
  config.span_queue = size(reader.number("OTEL_BSP_MAX_QUEUE_SIZE", 2, 1'000'000), config.span_queue);
  config.span_batch = size(reader.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 1, 100'000), config.span_batch);
  config.span_batch = std::min(config.span_batch, config.span_queue);
  if (const auto delay = reader.number("OTEL_BSP_SCHEDULE_DELAY", 0, longest_ms))
    config.span_delay = milliseconds{*delay};
  if (const auto interval = reader.number("OTEL_METRIC_EXPORT_INTERVAL", 100, longest_ms))
    config.metric_interval = milliseconds{*interval};

  if (auto resource = reader.pairs("OTEL_RESOURCE_ATTRIBUTES", false)) config.resource = std::move(*resource);
  config.service_name = reader.text("OTEL_SERVICE_NAME");
  if (const auto named = config.resource.find("service.name"); named != config.resource.end()) {
    if (config.service_name.empty()) config.service_name = named->second;
    config.resource.erase(named);
  }

  if (reader.truth("OTEL_SDK_DISABLED")) {
    config.traces.url.clear();
    config.metrics.url.clear();
  }
  pair_up(reader, "TRACES", config.traces);
  pair_up(reader, "METRICS", config.metrics);
  return config;
}

}  // namespace stem
