#include "telemetry/tracer.hpp"

#include <pthread.h>
#include <unistd.h>

#include <cstdlib>
#include <new>
#include <stem/error.hpp>
#include <stem/version.hpp>

#include "core/last_words.hpp"
#include "core/otlp.hpp"
#include "telemetry/curl_library.hpp"

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
  TelemetrySource source;
  pid_t process = 0;
  std::weak_ptr<Tracer> tracer;
};

/// Never destroyed: a Stem of a program's own may be let go of after main(). A fork waits for who has it.
struct Known {
  std::mutex mutex;
  std::vector<Shared> list;
  std::vector<std::shared_ptr<Tracer>> kept;
  bool over = false;

  static Known& of_process() {
    static auto& known = *new Known;
    static const int registered =
        pthread_atfork([] { of_process().mutex.lock(); }, [] { of_process().mutex.unlock(); },
                       [] { of_process().mutex.unlock(); });
    if (registered != 0) throw std::bad_alloc();
    return known;
  }
};

bool speaks_for(const TelemetrySource& one, const TelemetrySource& source) {
  return one == source || (source.node.empty() && one.name_space == source.name_space);
}

}  // namespace

Tracer::Tracer(const TelemetryConfig& config, const TelemetrySource& source, ExporterReport report)
    : config_(config),
      on_(!config.traces.url.empty()),
      host_(host_name()),
      resource_(resource_of(config, source, host_)),
      sampler_(config.sampler, config.sampled_share),
      exporter_(config, resource_, std::move(report)) {}

std::shared_ptr<Tracer> Tracer::shared(const TelemetryConfig& config, const TelemetrySource& source,
                                       ExporterReport report) {
  if (!config.tells() && !config.console) return nullptr;
  auto& known = Known::of_process();
  const std::lock_guard lock(known.mutex);
  if (known.over) return nullptr;
  std::erase_if(known.list,
                [](const Shared& one) { return one.process != getpid() || one.tracer.expired(); });
  for (const auto& one : known.list)
    if (one.config == config && speaks_for(one.source, source))
      if (auto tracer = one.tracer.lock(); tracer && !tracer->exporter().finished()) {
        tracer->exporter().report_to(std::move(report));
        return tracer;
      }
  // Here, and not on the exporter's thread: a child that is forked meanwhile would wait for it for ever, and
  // exit() would not know yet of what has to end.
  if (config.tells()) {
    try {
      curl_library();
    } catch (const Error&) {
      // The exporter says so.
    }
  }
  std::shared_ptr<Tracer> tracer(new Tracer(config, source, std::move(report)), [](Tracer* last) {
    last->exporter().finish(last_words);
    delete last;
  });
  known.list.push_back({config, source, getpid(), tracer});
  LastWords::add(&Tracer::finish_all);
  if (LastWords::expected()) known.kept.push_back(tracer);
  return tracer;
}

void Tracer::keep_all() {
  LastWords::expect();
}

void Tracer::finish_all() {
  auto& known = Known::of_process();
  std::vector<std::shared_ptr<Tracer>> all;
  {
    const std::lock_guard lock(known.mutex);
    for (const auto& one : known.list)
      if (auto tracer = one.process == getpid() ? one.tracer.lock() : nullptr)
        all.push_back(std::move(tracer));
  }
  // All at the same time: who ends them has `last_words` for them, however many there are.
  for (const auto& tracer : all) tracer->exporter().begin_to_end(last_words);
  for (const auto& tracer : all) tracer->exporter().finish(last_words);
}

void Tracer::end_all() {
  {
    auto& known = Known::of_process();
    const std::lock_guard lock(known.mutex);
    known.over = true;
  }
  finish_all();
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
