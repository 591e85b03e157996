#include "worker/engine.hpp"

namespace stem {

void Engine::measure(MetricSnapshot& snapshot) const {
  const MetricPoint::Labels labels{{"worker", options_.node}, {"namespace", options_.name_space}};
  const auto number = [&](const char* name, const char* help, double value) {
    snapshot.gauge(name, "", help, labels, value);
  };

  shared_.series.measure(snapshot);
  const auto& counters = shared_.counters;
  number("stem.worker.inflight", "Jobs that are leased to this worker.", inflight_);
  number("stem.worker.busy", "Handlers that run, stuck ones included.", counters.busy);
  number("stem.worker.stuck", "Handlers that run on past their hard time limit, or in vain.", counters.stuck);
  number("stem.worker.concurrency", "Handlers that may run at once.", options_.concurrency);
  snapshot.counter("stem.worker.heartbeats", "Heartbeats that were written.", labels, counters.heartbeats);

  number("stem.broker.connected", "Whether the broker answered the last time (1) or not (0).",
         link_.connected());
  if (const auto answered = link_.answered())
    snapshot.gauge("stem.broker.age", "s", "How long ago the broker last answered.", labels,
                   std::chrono::duration<double>(clock_.steady() - *answered).count());
  queue_watch_.measure(snapshot, labels);
}

void Engine::want_queues(Duration length) {
  if (queue_watch_.want(length)) wake_.set();
}

}  // namespace stem
