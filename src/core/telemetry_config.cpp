#include "core/telemetry_config.hpp"

#include <algorithm>
#include <charconv>
#include <stem/error.hpp>

#include "core/json_text.hpp"
#include "core/name.hpp"
#include "core/redaction.hpp"

namespace stem {
namespace {

using std::chrono::milliseconds;

constexpr const char* local_collector =
    "http://localhost:4318";  // "OpenTelemetry Protocol Exporter", Endpoint (OTLP/HTTP)
constexpr std::int64_t longest_ms = 24 * 3600 * 1000;

std::string trimmed(std::string_view value) {
  constexpr auto blanks = " \t\r\n";
  const auto begin = value.find_first_not_of(blanks);
  return begin == value.npos ? std::string()
                             : std::string(value.substr(begin, value.find_last_not_of(blanks) + 1 - begin));
}

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

std::vector<std::string> items(std::string_view list) {
  std::vector<std::string> parts;
  while (!list.empty()) {
    const auto one = list.substr(0, list.find(','));
    list.remove_prefix(std::min(list.size(), one.size() + 1));
    if (auto text = trimmed(one); !text.empty()) parts.push_back(std::move(text));
  }
  return parts;
}

bool is_address(std::string_view url) {
  const auto rest = url.starts_with("http://")    ? url.substr(7)
                    : url.starts_with("https://") ? url.substr(8)
                                                  : std::string_view{};
  if (rest.empty() || rest.front() == '/' || rest.front() == ':' || rest.front() == '?') return false;
  return std::all_of(url.begin(), url.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::string> percent_decoded(std::string_view text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      plain += text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? digit(text[i + 1]) : -1;
    const int low = high >= 0 ? digit(text[i + 2]) : -1;
    if (low < 0) return std::nullopt;
    plain += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return plain;
}

bool is_header_name(std::string_view name) {
  constexpr std::string_view others = "!#$%&'*+-.^_`|~";  // RFC 9110, section 5.6.2
  return !name.empty() && std::all_of(name.begin(), name.end(), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           others.find(c) != others.npos;
  });
}

/// Without what would end the header, and begin another.
bool is_header_value(std::string_view value) {
  return std::none_of(value.begin(), value.end(),
                      [](unsigned char c) { return (c < 0x20 && c != '\t') || c == 0x7f; });
}

/// The variables, each read by the rules of its type.
class Reader {
 public:
  Reader(const Environment& environment, std::vector<std::string>& warnings)
      : environment_(environment), warnings_(warnings) {}

  std::string text(const char* name) const {
    const auto found = environment_.find(name);
    return found == environment_.end() ? std::string() : trimmed(found->second);
  }
  void ignore(const char* name, const std::string& why, bool quote = true) {
    const auto value = quote ? "='" + redacted(printable(text(name))) + "'" : std::string();
    warnings_.push_back(name + value + " is ignored: " + why);
  }

  bool truth(const char* name) {
    const auto word = lower(text(name));
    if (!word.empty() && word != "true" && word != "false") ignore(name, "it must be true or false");
    return word == "true";
  }
  std::string word(const char* name, std::initializer_list<const char*> known) {
    const auto value = lower(text(name));
    std::string list;
    for (const auto* one : known) {
      if (value == one) return value;
      list += (list.empty() ? "" : ", ") + std::string(one);
    }
    if (!value.empty()) ignore(name, "it must be one of " + list);
    return {};
  }
  std::optional<std::int64_t> number(const char* name, std::int64_t low, std::int64_t high) {
    const auto value = text(name);
    if (value.empty()) return std::nullopt;
    std::int64_t number = 0;
    const auto end = value.data() + value.size();
    const auto [rest, error] = std::from_chars(value.data(), end, number);
    if (error == std::errc{} && rest == end && number >= low && number <= high) return number;
    ignore(name, "it must be a whole number from " + std::to_string(low) + " to " + std::to_string(high));
    return std::nullopt;
  }
  std::string address(const char* name) {
    const auto value = text(name);
    if (value.empty() || is_address(value)) return value;
    ignore(name, "it must be an address such as http://HOST:4318", false);
    return {};
  }
  /// `name=value,name=value`, percent-encoded as in W3C Baggage; all of it or nothing.
  std::map<std::string, std::string> pairs(const char* name, bool headers) {
    std::map<std::string, std::string> pairs;
    for (const auto& item : items(text(name))) {
      const auto equals = item.find('=');
      const auto key = percent_decoded(trimmed(std::string_view(item).substr(0, equals)));
      const auto value = equals == item.npos
                             ? std::nullopt
                             : percent_decoded(trimmed(std::string_view(item).substr(equals + 1)));
      const bool sound = key && value && !key->empty() && is_utf8(*key) && is_utf8(*value) &&
                         (!headers || (is_header_name(*key) && is_header_value(*value)));
      if (!sound) {
        // Of what may be a secret not even a part is quoted.
        ignore(name, "entry " + std::to_string(pairs.size() + 1) + " is not NAME=VALUE, percent-encoded",
               false);
        return {};
      }
      pairs.insert_or_assign(headers ? lower(*key) : *key, *value);
    }
    return pairs;
  }

 private:
  const Environment& environment_;
  std::vector<std::string>& warnings_;
};

/// `base` with `path` appended, without doubling a slash: "OpenTelemetry Protocol Exporter", Endpoint URLs
/// for OTLP/HTTP.
std::string signal_url(std::string base, const char* path) {
  if (base.empty()) return base;
  while (base.ends_with('/')) base.pop_back();
  return base + path;
}

/// An address of STEM_*, where the signal's path may be given or not.
std::string base_url(const char* name, std::string url) {
  if (!is_address(url))
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

MetricExporters metric_exporters(Reader& reader, TelemetryConfig& config) {
  constexpr auto name = "STEM_METRIC_EXPORTERS";
  MetricExporters exporters;
  for (const auto& item : items(reader.text(name))) {
    const auto kind = lower(item.substr(0, item.find(':')));
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

std::size_t size(std::optional<std::int64_t> number, std::size_t otherwise) {
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
  Reader reader(environment, config.warnings);

  const auto metrics = metric_exporters(reader, config);
  std::string base = reader.text("STEM_OTLP_ENDPOINT");
  if (!base.empty()) base = base_url("STEM_OTLP_ENDPOINT", base);
  const auto general = reader.address("OTEL_EXPORTER_OTLP_ENDPOINT");
  if (base.empty()) base = general;
  const auto traces_to = reader.word("OTEL_TRACES_EXPORTER", {"otlp", "none"});
  const auto metrics_to = reader.word("OTEL_METRICS_EXPORTER", {"otlp", "none"});

  config.traces_url = reader.address("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
  if (config.traces_url.empty())
    config.traces_url =
        signal_url(base.empty() && traces_to == "otlp" ? local_collector : base, "/v1/traces");
  if (traces_to == "none") config.traces_url.clear();

  config.metrics_url = reader.address("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT");
  if (!metrics.address.empty()) config.metrics_url = signal_url(metrics.address, "/v1/metrics");
  const bool asked_for = metrics.otlp || (!metrics.given && metrics_to == "otlp");
  if (config.metrics_url.empty())
    config.metrics_url = signal_url(base.empty() && asked_for ? local_collector : base, "/v1/metrics");
  if (metrics.given ? !metrics.otlp : metrics_to == "none") config.metrics_url.clear();

  if (const auto protocol = lower(reader.text("OTEL_EXPORTER_OTLP_PROTOCOL"));
      !protocol.empty() && protocol != "http/json")
    reader.ignore("OTEL_EXPORTER_OTLP_PROTOCOL",
                  "Stem speaks http/json; give the address of the collector's HTTP port, mostly 4318");
  config.headers = reader.pairs("OTEL_EXPORTER_OTLP_HEADERS", true);
  config.certificate = reader.text("OTEL_EXPORTER_OTLP_CERTIFICATE");
  config.client_certificate = reader.text("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE");
  config.client_key = reader.text("OTEL_EXPORTER_OTLP_CLIENT_KEY");
  if (config.client_certificate.empty() != config.client_key.empty()) {
    const bool lone_key = config.client_certificate.empty();
    reader.ignore(lone_key ? "OTEL_EXPORTER_OTLP_CLIENT_KEY" : "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
                  lone_key ? "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE is not set"
                           : "OTEL_EXPORTER_OTLP_CLIENT_KEY is not set");
    config.client_certificate.clear();
    config.client_key.clear();
  }
  config.gzip = reader.word("OTEL_EXPORTER_OTLP_COMPRESSION", {"gzip", "none"}) == "gzip";
  // 0 is for ever by the specification, which allows a long time in its place. A request for ever would be a
  // leak.
  if (const auto timeout = reader.number("OTEL_EXPORTER_OTLP_TIMEOUT", 0, longest_ms))
    config.timeout = milliseconds{*timeout == 0 ? 60'000 : *timeout};

  if (const auto sampler = reader.word("OTEL_TRACES_SAMPLER",
                                       {"always_on", "always_off", "traceidratio", "parentbased_always_on",
                                        "parentbased_always_off", "parentbased_traceidratio"});
      !sampler.empty())
    config.sampler = sampler;
  if (const auto share = reader.text("OTEL_TRACES_SAMPLER_ARG");
      !share.empty() && config.sampler.ends_with("traceidratio")) {
    double number = 0;
    const auto end = share.data() + share.size();
    const auto [rest, error] = std::from_chars(share.data(), end, number);
    if (error == std::errc{} && rest == end && number >= 0 && number <= 1)
      config.sampled_share = number;
    else
      reader.ignore("OTEL_TRACES_SAMPLER_ARG", "it must be a number from 0 to 1");
  }
  // An attempt has two spans, which are told together or not at all.
  config.span_queue = size(reader.number("OTEL_BSP_MAX_QUEUE_SIZE", 2, 1'000'000), config.span_queue);
  config.span_batch = size(reader.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 1, 100'000), config.span_batch);
  config.span_batch = std::min(config.span_batch, config.span_queue);
  if (const auto delay = reader.number("OTEL_BSP_SCHEDULE_DELAY", 0, longest_ms))
    config.span_delay = milliseconds{*delay};
  if (const auto interval = reader.number("OTEL_METRIC_EXPORT_INTERVAL", 100, longest_ms))
    config.metric_interval = milliseconds{*interval};

  config.resource = reader.pairs("OTEL_RESOURCE_ATTRIBUTES", false);
  config.service_name = reader.text("OTEL_SERVICE_NAME");
  if (const auto named = config.resource.find("service.name"); named != config.resource.end()) {
    if (config.service_name.empty()) config.service_name = named->second;
    config.resource.erase(named);
  }

  if (reader.truth("OTEL_SDK_DISABLED")) {
    config.traces_url.clear();
    config.metrics_url.clear();
  }
  return config;
}

}  // namespace stem
