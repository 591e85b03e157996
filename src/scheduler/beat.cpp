#include "scheduler/beat.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <map>
#include <stem/error.hpp>

#include "worker/attempts.hpp"

namespace stem {
namespace {

using namespace std::chrono;

constexpr std::size_t page = 1000;
constexpr std::size_t fired_at_once = 500;  // schedules in one commit
constexpr Duration longest_rest = hours{1};
constexpr Duration sweep_every = minutes{10};

}  // namespace

Beat::Beat(BeatOptions options, SchedulePlaces places, const Clock& clock)
    : places_(std::move(places)),
      clock_(clock),
      book_(places_.schedules, clock),
      lock_(places_.schedules, clock, options.title, options.lock_period),
      options_(std::move(options)) {}

BeatOptions Beat::options() const {
  const std::lock_guard lock(mutex_);
  return options_;
}

void Beat::configure(const BeatOptions& options) {
  const std::lock_guard lock(mutex_);
  auto tracer = options_.tracer;
  options_ = options;
  options_.tracer = std::move(tracer);
}

std::string Beat::next_up() const {
  const std::lock_guard lock(mutex_);
  return next_up_;
}

std::string Beat::holder() const {
  const std::lock_guard lock(mutex_);
  return holder_;
}

std::pair<std::string, std::int64_t> Beat::watched() const {
  if (leading_) return {ScheduleBook::revision_key, std::max<std::int64_t>(revision_, 0)};
  return {LeaderLock::key, lock_.seen()};
}

Duration Beat::turn() {
  // Here, for the turns that fail before they know better. After a commit that failed nothing is known yet.
  if (!leading_ || revision_ >= 0) look_at_line(clock_.wall());
  lead();
  if (!leading_) return lock_.next_look();
  if (!read_news()) return Duration{};
  const auto now = clock_.wall();
  look_at_line(now);
  if (fire(now)) {
    lead();
    // What else there is to hear, a stop for one, comes before the rest.
    return leading_ ? Duration{} : lock_.next_look();
  }
  sweep();
  tell_next();
  const auto first = line_.first();
  const auto next = first ? first->first - clock_.wall() : longest_rest;
  return std::clamp(next, Duration{}, lock_.next_look());
}

void Beat::sweep() {
  // A schedule store of its own has no workers who would.
  if (clock_.steady() >= swept_ + sweep_every && places_.schedules->sweep() == 0) swept_ = clock_.steady();
}

bool Beat::hold() {
  const bool holds = lock_.hold();
  leads_until_ = lock_.lapses().time_since_epoch().count();
  return holds;
}

void Beat::lead() {
  const bool leads = hold();
  const bool began = leads && (!leading_ || lock_.term() != term_);
  series_.locks_acquired += began;
  series_.locks_contended += !leads;
  series_.renewals_failed += leading_ && (began || !leads);
  if (began) {
    // Also when the lock ended and is ours again: another may have led in between, and what is known may be
    // old.
    spdlog::info("leading: this scheduler publishes from now on");
    term_ = lock_.term();
    start_over();
  }
  if (!leads && leading_) {
    spdlog::warn("no longer leading: {} took over",
                 lock_.holder().empty() ? "another scheduler" : lock_.holder());
    forget();
  }
  leading_ = leads;
  counters_.leading = leads;
  const std::lock_guard lock(mutex_);
  if (holder_ != lock_.holder() && !leads) spdlog::info("standing by: {} leads", lock_.holder());
  holder_ = lock_.holder();
  if (!leads) next_up_.clear();
}

void Beat::forget() {
  line_.clear();
  count_schedules();
  revision_ = -1;
}

/// What was to be written may be there, or not: what is stored tells, and what is queued is looked at before
/// it is published.
void Beat::start_over() {
  led_since_ = clock_.wall();
  forget();
}

void Beat::count_schedules() {
  counters_.schedules = static_cast<std::int64_t>(line_.size());
  counters_.broken = static_cast<std::int64_t>(line_.broken());
}

/// False if the lead was lost over it.
bool Beat::read_news() {
  const auto news = book_.news(revision_);
  if (news.revision == revision_) return true;
  if (revision_ < 0 || news.all) {
    if (!load_all()) return false;
  } else {
    for (const auto& name : news.changed)
      line_.load(name, places_.schedules->get(ScheduleBook::entry_key(name)),
                 places_.schedules->get(ScheduleBook::run_key(name)));
  }
  // What was written after news() was asked for is news the next time, even if it was read already.
  revision_ = news.revision;
  count_schedules();
  return true;
}

bool Beat::load_all() {
  const auto began = clock_.steady();
  forget();
  std::map<std::string, StoreEntry> runs;
  // Very many may take longer than the lock lives without being renewed.
  const auto each = [&](const std::string& prefix, const auto& use) {
    std::string after;
    for (;;) {
      if (!hold() || lock_.term() != term_) return false;
      auto some = places_.schedules->list(prefix, page, after);
      if (some.empty()) return true;
      after = some.back().key;
      const bool more = some.size() == page;
      for (auto& entry : some) {
        const auto name = entry.key.substr(prefix.size());
        use(name, std::move(entry));
      }
      if (!more) return true;
    }
  };
  // Runs first: one that is written by another meanwhile can only be older than what is read here, and is
  // guarded.
  const bool held =
      each(ScheduleBook::run_key(""),
           [&](const std::string& name, StoreEntry entry) { runs.emplace(name, std::move(entry)); }) &&
      each(ScheduleBook::entry_key(""), [&](const std::string& name, StoreEntry entry) {
        const auto run = runs.find(name);
        line_.load(name, std::move(entry),
                   run == runs.end() ? std::nullopt : std::optional(std::move(run->second)));
      });
  if (!held) {
    forget();
    return false;
  }
  spdlog::info("{} schedules read in {} ms", line_.size(),
               duration_cast<milliseconds>(clock_.steady() - began).count());
  return true;
}

/// One commit's worth. Returns whether there may be more that is due.
bool Beat::fire(WallTime now) {
  const auto options = this->options();
  std::vector<Firing> firings;
  for (auto* const item : line_.due(now, fired_at_once)) {
    try {
      firings.push_back(firing_of(*item, now, options));
    } catch (const std::exception& error) {
      spdlog::error("schedule {} is left out: {}", item->first, error.what());
      firings.push_back({.item = item, .run = item->second.run});
      firings.back().run.error = error.what();
      ++counters_.errors;
    }
  }
  if (firings.empty()) return false;
  const auto begun = clock_.steady();
  const auto tell = [&](const std::string& error) {
    for (auto& firing : firings)
      for (auto& span : firing.spans) end_enqueue(options.tracer.get(), std::move(span), error);
  };
  try {
    if (!publish(firings, now, tell)) return true;  // led by another, or edited: the next turn tells
    count(firings, now, duration_cast<Duration>(clock_.steady() - begun));
    tell({});
  } catch (const std::exception& error) {
    // Nothing is given up: the same slots are due at the next turn.
    ++series_.commits_failed;
    tell(error.what());
    start_over();
    throw;
  }
  // After an outage they may be very many.
  const auto missed =
      std::count_if(firings.begin(), firings.end(), [](const Firing& one) { return one.missed; });
  if (missed > 0) {
    const auto& one =
        *std::find_if(firings.begin(), firings.end(), [](const Firing& one) { return one.missed; });
    spdlog::warn("{} missed slots, such as schedule {} since {}; {}",
                 missed == 1 ? "1 schedule" : std::to_string(missed) + " schedules", one.item->first,
                 format_time(*one.item->second.due),
                 options.catch_up == CatchUp::none ? "those that are too late do not run"
                                                   : "the last of each has run");
  }
  for (auto& firing : firings) {
    auto& item = *firing.item;
    item.second.run = std::move(firing.run);
    line_.line_up(item, firing.due);
    counters_.published += static_cast<std::int64_t>(firing.jobs.size());
    counters_.misfires += firing.missed;
  }
  return line_.is_due(clock_.wall());
}

/// How many are due, whether or not they can be published.
void Beat::look_at_line(WallTime now) {
  const auto [due, overdue] = line_.count_due(now, ScheduleSeriesBook::overdue_after);
  series_.due = due;
  series_.overdue = overdue;
}

/// What was published, and what was given up for good: once the commit that says so is done.
void Beat::count(const std::vector<Firing>& firings, WallTime now, Duration took) {
  for (const auto& one : firings) {
    if (const auto due = one.item->second.due; due && now - *due > ScheduleSeriesBook::overdue_after)
      series_.overdue_lag.add(now - *due);
    if (one.given_up > 0) {
      counters_.errors += static_cast<std::int64_t>(one.given_up);
      auto& series = series_.of(one.item->first);
      series.attempts += one.given_up;
      series.failed += one.given_up;
    }
    if (one.jobs.empty()) continue;
    auto& series = series_.of(one.item->first);
    series.published += one.jobs.size();
    series.duration.add(took);
    for (const auto drift : one.drifts) series.drift.add(std::chrono::abs(drift));
  }
}

bool Beat::leads() const {
  return counters_.leading && clock_.steady().time_since_epoch().count() < leads_until_;
}

void Beat::measure(MetricSnapshot& snapshot, const MetricPoint::Labels& labels) const {
  const auto number = [&](const char* name, const char* help, double value) {
    snapshot.gauge(name, "", help, labels, value);
  };
  number("stem.scheduler.leading", "Whether this scheduler leads (1) or stands by (0).", leads());
  number("stem.scheduler.schedules", "Schedules that are known; 0 while another scheduler leads.",
         static_cast<double>(counters_.schedules));
  series_.measure(snapshot, labels);
}

/// Jobs, and what is remembered of them. False if we no longer lead, or the book was edited.
bool Beat::publish(std::vector<Firing>& firings, WallTime now,
                   const std::function<void(const std::string&)>& tell) {
  std::vector<Envelope> jobs;
  std::vector<StoreWrite> records;
  const bool bound = places_.broker->publishes_with(*places_.schedules);
  for (auto& firing : firings) {
    if (firing.run == firing.item->second.run) continue;  // edited or restarted: there was nothing to do
    for (std::size_t i = 0; i < firing.jobs.size(); ++i) {
      const auto& job = firing.jobs[i];
      if (bound || !already_there(job, firing.item->second.due.value_or(now)))
        jobs.push_back(job);
      else if (const auto& span = firing.spans[i])
        span->attributes.push_back({"stem.task.duplicate", true});
    }
    records.push_back({ScheduleBook::run_key(firing.item->first), to_wire(firing.run), {}});
  }
  // Nothing of what was deleted or disabled before this commit is published by it.
  const std::vector<StoreGuard> guards{lock_.guard(), {ScheduleBook::revision_key, revision_}};
  bool valid = false, unrecorded = false;
  if (bound) {
    valid = places_.broker->publish_guarded(jobs, guards, records).has_value();
  } else if (lock_.certain() && book_.revision() == revision_) {
    places_.broker->publish(jobs);
    tell({});  // whatever becomes of what is remembered of them
    valid = places_.schedules->put_guarded(records, guards);
    unrecorded = !valid;
  }
  for (const auto& one : firings)
    if (!one.jobs.empty()) series_.of(one.item->first).attempts += one.jobs.size();
  if (!valid) lock_.doubt();
  if (unrecorded) start_over();  // what was published is looked for
  return valid;
}

bool Beat::already_there(const Envelope& job, WallTime due) {
  if (due > led_since_) return false;  // nobody else was there to publish it
  return places_.broker->find(job.id).has_value() || places_.results->get(result_key(job.id)).has_value();
}

void Beat::tell_next() {
  const auto first = line_.first();
  const auto text =
      first ? std::string(first->second) + " at " + format_time(floor<seconds>(first->first)) : std::string();
  const std::lock_guard lock(mutex_);
  next_up_ = text;
}

}  // namespace stem
