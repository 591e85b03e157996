#include "scheduler/firing.hpp"

#include <spdlog/spdlog.h>

#include <stem/error.hpp>

namespace stem {
namespace {

constexpr std::size_t published_at_once = 200;  // slots of one schedule in one commit

/// The last slot up to `end`; `first` is one. In so few steps that a schedule of every second may have been
/// left for years.
WallTime last_slot(const ScheduleEntry& entry, WallTime first, WallTime end) {
  // `last` is a slot, and there is none behind `bound` up to `end`.
  auto last = first;
  for (auto bound = end; last < bound;) {
    const auto middle = last + (bound - last) / 2;
    const auto slot = entry.next_slot(middle);
    if (slot && *slot <= end)
      last = *slot;
    else
      bound = middle;
  }
  return last;
}

Envelope job_of(const ScheduleEntry& entry, WallTime slot, WallTime now, const BeatOptions& options) {
  auto job = entry.job(slot, now, options.routing.default_queue, options.default_max_retries);
  validate(job);
  // As the schedule asks for it: where it names no queue, a route for those of a queue is not for it.
  const auto to = options.routing.destination(job.name, job.headers, entry.queue, job.priority);
  // A publication and its bookkeeping are one commit; a message to everyone could not be in it.
  if (to.to_everyone)
    throw Error(Exit::config, "task " + job.name + " is routed to the broadcast " + to.name +
                                  "; a schedule enqueues into a queue");
  job.queue = to.name;
  job.priority = to.priority;
  return job;
}

void add(Firing& firing, const ScheduleEntry& entry, WallTime slot, WallTime now,
         const BeatOptions& options) {
  auto& run = firing.run;
  run.slot = slot;
  try {
    auto job = job_of(entry, slot, now, options);
    auto span = trace_enqueue(options.tracer.get(), job);
    if (options.signer) options.signer->sign(job);
    firing.spans.push_back(std::move(span));
    firing.jobs.push_back(std::move(job));
    firing.drifts.push_back(now - entry.due(slot));
    run.last_slot = slot;
    run.last_run = now;
    run.drift = now - entry.due(slot);
    ++run.runs;
    run.error.clear();
  } catch (const Error& error) {
    run.error = error.what();
    ++firing.given_up;
    spdlog::error("schedule {}: slot {} cannot be published: {}", entry.name, format_time(slot),
                  error.what());
  }
}

/// Leaves out what is too late, as far as that is not made up for.
void pass_over(Firing& firing, const ScheduleEntry& entry, WallTime now, const BeatOptions& options) {
  auto& run = firing.run;
  // Whatever its jitter, no slot up to here is on time any more.
  const auto late = now - entry.jitter - options.grace;
  const auto first = next_slot(entry, run);
  if (!first || *first > late || options.catch_up == CatchUp::all) return;
  const auto on_time = entry.next_slot(late);
  const bool another = on_time && entry.due(*on_time) <= now;
  // Of what runs once, whoever publishes it late has to take the same slot.
  const auto last = entry.run_once ? *first : last_slot(entry, *first, late);
  std::optional<WallTime> passed;
  if (options.catch_up == CatchUp::none || (another && !entry.run_once))
    passed = late;
  else if (last != *first)
    passed = last - Duration{1};
  if (!passed) return;
  run.slot = passed;
  ++run.misfires;
  firing.missed = true;
  spdlog::debug("schedule {}: slots from {} to {} were missed", entry.name, format_time(*first),
                format_time(*passed));
}

}  // namespace

Firing firing_of(ScheduleLine::Known& item, WallTime now, const BeatOptions& options) {
  const auto entry = schedule_entry_from_wire(item.second.wire);
  Firing firing{.item = &item, .run = item.second.run};
  auto& run = firing.run;
  run.begin(entry);
  pass_over(firing, entry, now, options);
  for (std::size_t count = 0; count < published_at_once; ++count) {
    const auto slot = next_slot(entry, run);
    if (!slot || entry.due(*slot) > now) break;
    add(firing, entry, *slot, now, options);
  }
  if (const auto slot = next_slot(entry, run)) firing.due = entry.due(*slot);
  return firing;
}

}  // namespace stem
