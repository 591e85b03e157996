#include "telemetry/tracer.hpp"

#include <unistd.h>

#include <stem/version.hpp>

#include "core/otlp.hpp"

namespace stem {
namespace {

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 && name[0] != '\0' ? name : "localhost";
}

/// "Resource SDK" and the semantic conventions of resources. What the user says wins, but for who speaks.
std::string resource_of(const TelemetryConfig& config, const TelemetrySource& source,
                        const std::string& host) {
  std::map<std::string, AttributeValue> all{{"host.name", host},
                                            {"process.pid", static_cast<std::int64_t>(getpid())},
                                            {"stem.namespace", source.name_space}};
  if (!source.node.empty()) all["service.instance.id"] = source.node + "@" + host;
  for (const auto& [key, value] : config.resource) all[key] = value;
  all["service.name"] = config.service_name.empty() ? source.name_space : config.service_name;
  all["telemetry.sdk.name"] = std::string("stem");
  all["telemetry.sdk.language"] = std::string("cpp");
  all["telemetry.sdk.version"] = std::string(version);
  std::vector<Attribute> attributes;
  for (auto& [key, value] : all) attributes.push_back({key, std::move(value)});
  return otlp_attributes(attributes);
}

struct Shared {
  TelemetryConfig config;
  pid_t process = 0;
  std::weak_ptr<Tracer> tracer;
};

}  // namespace

Tracer::Tracer(const TelemetryConfig& config, const TelemetrySource& source, ExporterReport report)
    : config_(config),
      on_(!config.traces_url.empty()),
      host_(host_name()),
      resource_(resource_of(config, source, host_)),
      sampler_(config.sampler, config.sampled_share),
      exporter_(config, resource_, std::move(report)) {}

std::shared_ptr<Tracer> Tracer::shared(const TelemetryConfig& config, const TelemetrySource& source,
                                       ExporterReport report) {
  if (config.traces_url.empty() && config.metrics_url.empty() && !config.console) return nullptr;
  // Never destroyed: a Stem of a program's own may be let go of after main().
  static auto& mutex = *new std::mutex;
  static auto& known = *new std::vector<Shared>;
  const std::lock_guard lock(mutex);
  std::erase_if(known, [](const Shared& one) { return one.process != getpid() || one.tracer.expired(); });
  for (const auto& one : known)
    if (one.config == config)
      if (auto tracer = one.tracer.lock(); tracer && !tracer->exporter().finished()) return tracer;
  std::shared_ptr<Tracer> tracer(new Tracer(config, source, std::move(report)), [](Tracer* last) {
    last->exporter().finish(last_words);
    delete last;
  });
  known.push_back({config, getpid(), tracer});
  return tracer;
}

TraceContext Tracer::child_of(const std::optional<TraceContext>& parent) const {
  TraceContext context;
  context.trace = parent ? parent->trace : new_trace_id();
  context.span = new_span_id();
  context.sampled = sampler_.samples(context.trace, parent);
  if (parent) context.state = parent->state;
  return context;
}

}  // namespace stem
