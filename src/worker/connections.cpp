#include "worker/connections.hpp"

#include <algorithm>

#include "core/id.hpp"
#include "core/json_depth.hpp"
#include "core/name.hpp"
#include "core/trace_scope.hpp"
#include "core/unique_key.hpp"
#include "core/wishes.hpp"
#include "worker/attempts.hpp"
#include "worker/canvas_state.hpp"
#include "worker/routing_file.hpp"

namespace stem {
namespace {

/// Producers that are after the same unique keys at the same time try again so often.
constexpr int most_tries = 1000;

[[noreturn]] void refuse(const Job& job, const std::string& why) {
  throw Error(Exit::usage, "job of task " + printable(job.task) + ": " + why);
}

/// When the job may begin at the earliest.
WallTime start_of(const Envelope& envelope) {
  return std::max(envelope.enqueued_at, envelope.not_before.value_or(WallTime{}));
}

Wishes wishes_of(const Job& job, const Envelope& envelope) {
  const auto& options = job.options;
  Wishes wishes{
      .max_retries = options.max_retries, .retry = options.retry, .ignore_result = options.ignore_result};
  if (options.retry) options.retry->validate();
  const auto positive = [&](const std::optional<Duration>& length, const char* what) {
    if (length && *length < std::chrono::milliseconds{1})
      refuse(job, std::string(what) + " must be at least 1ms");
    return length;
  };
  if (positive(options.expires, "expires")) wishes.expires = start_of(envelope) + *options.expires;
  if (options.expires_at) wishes.expires = options.expires_at;
  if (wishes.expires && *wishes.expires <= start_of(envelope))
    refuse(job, "it would expire at " + format_time(*wishes.expires) + ", before it may begin at " +
                    format_time(start_of(envelope)));
  wishes.result_ttl = positive(options.result_ttl, "result_ttl");
  positive(options.unique_for, "unique_for");
  if (!options.unique_for && !options.unique_key.empty())
    refuse(job, "a unique_key says nothing without unique_for");
  return wishes;
}

/// What the broker knows of a job that has not ended, as a Result; `record` is the last one written, if any.
Result unfinished(const std::string& id, const JobView& view, const std::optional<Result>& record) {
  Result result = record && !is_final(record->state) ? *record : Result{};
  result.id = id;
  result.attempt = view.attempt;
  if (view.state == JobView::State::leased)
    result.state = TaskState::running;
  else if (result.state != TaskState::retried)
    result.state = TaskState::queued;
  if (view.due && view.state == JobView::State::delayed) result.meta["notBefore"] = format_time(*view.due);
  if (!view.consumer.empty() && view.state == JobView::State::leased) result.meta["worker"] = view.consumer;
  return result;
}

}  // namespace

void Stem::Connections::prepare() {
  const std::lock_guard lock(preparing);
  if (!routing) routing = routing_of(config).routing;
  if (!signer_made) signer = PayloadSigner::maybe(config);
  signer_made = true;
  // A worker of this process that has ended has ended the one that they shared.
  if (!tracer_made || (tracer && tracer->exporter().finished()))
    tracer = Tracer::shared(config.telemetry, {config.name_space, config.node});
  tracer_made = true;
}

std::shared_ptr<Tracer> Stem::Connections::teller() {
  const std::lock_guard lock(preparing);
  return tracer;
}

Stem::Connections::Posting Stem::Connections::posting(const Job& job, CanvasPart part,
                                                      const std::optional<ChainPlace>& place,
                                                      std::size_t depth) {
  prepare();
  const auto& options = job.options;
  const auto now = Clock::system().wall();
  Posting posting;
  auto& envelope = posting.envelope;
  envelope.id = options.id.empty() ? new_id(now) : options.id;
  envelope.name = job.task;
  envelope.args = job.args.is_null() ? Json::object() : job.args;  // `{}` is null
  envelope.headers = options.headers;
  envelope.enqueued_at = now;
  if (options.eta)
    envelope.not_before = options.eta;
  else if (options.delay)
    envelope.not_before = now + *options.delay;
  envelope.max_retries = options.max_retries.value_or(config.default_max_retries);
  envelope.meta["stem.task"] = job.task;
  // What was asked for is checked before routing makes something else of it.
  envelope.priority = options.priority;
  envelope.queue = options.queue.empty() ? routing->default_queue : options.queue;
  validate(envelope);
  put_wishes(envelope, wishes_of(job, envelope));
  if (place) {
    envelope.headers["stem-chain-id"] = place->chain;
    envelope.headers["stem-chain-index"] = std::to_string(place->index);
    envelope.meta["chainId"] = place->chain;
    envelope.meta["chainIndex"] = place->index;
  }

  posting.to = routing->destination(job.task, envelope.headers, options.queue, options.priority);
  envelope.queue = posting.to.name;
  envelope.priority = posting.to.priority;

  // What follows the job travels with the same context; all of it is signed with that.
  posting.span = trace_enqueue(teller().get(), envelope);
  const auto context = trace_context_of(envelope.headers);
  std::optional<TraceScope> traced;
  if (context) traced.emplace(*context, true);

  if (depth > longest_chain)
    refuse(job, "more than " + std::to_string(longest_chain) + " jobs would follow one another");
  for (const auto& next : options.then) {
    auto follower = member(next, {.follows = true}, {}, depth + 1);
    const auto life = canvas_life(start_of(follower.envelope), now);
    posting.records.push_back(waiting(follower.envelope, envelope.id, life));
    // What follows it cannot begin earlier.
    for (auto& record : follower.records) record.ttl = std::max(record.ttl, life);
    std::move(follower.records.begin(), follower.records.end(), std::back_inserter(posting.records));
    part.then.push_back(std::move(follower.envelope));
  }
  for (const auto& next : options.on_failure)
    part.on_failure.push_back(member(next, {.follows = true}, {}, depth + 1).envelope);
  put_canvas_part(envelope, part);
  if (too_deep(envelope.meta))
    refuse(job, "what is to follow it, and what that is given, is nested deeper than workers read");
  if (posting.to.to_everyone && part.has_duties())
    refuse(job, "nothing can follow a message to everyone on the broadcast channel " + posting.to.name);

  if (options.unique_for) {
    posting.unique = Uniqueness{*options.unique_for, options.unique_until};
  } else if (const auto known = unique_tasks.find(job.task);
             known != unique_tasks.end() && !part.has_duties() && !part.follows) {
    posting.unique = known->second;
  }
  if (posting.unique) {
    if (posting.to.to_everyone)
      refuse(job, "a message to everyone on the broadcast channel " + posting.to.name + " cannot be unique");
    const auto key = unique_key(options.unique_key, envelope.args);
    posting.unique_key = unique_store_key(job.task, key);
    envelope.meta["stem.unique.key"] = key;
    envelope.meta["stem.unique.expiresAt"] = format_time(start_of(envelope) + posting.unique->window);
  }
  if (signer) signer->sign(envelope);
  return posting;
}

Stem::Connections::Posting Stem::Connections::member(const Job& job, CanvasPart part,
                                                     const std::optional<ChainPlace>& place,
                                                     std::size_t depth) {
  if (job.options.unique_for)
    refuse(job, "a job that belongs to others cannot be unique, for they would wait for it in vain");
  auto made = posting(job, std::move(part), place, depth);
  if (made.to.to_everyone)
    refuse(job, "it is routed to the broadcast channel " + made.to.name +
                    "; what belongs to other jobs goes into a queue");
  return made;
}

StoreWrite Stem::Connections::waiting(const Envelope& job, const std::string& for_whom, Duration ttl) {
  Result result;
  result.id = job.id;
  result.meta = {{"task", job.name}, {"queue", job.queue}, {"waitsFor", for_whom}};
  return {result_key(job.id), to_wire(result), ttl};
}

void Stem::Connections::publish(const std::vector<Envelope>& jobs, const std::vector<StoreWrite>& records) {
  if (records.empty()) {
    storage.broker->publish(jobs);
  } else if (bound()) {
    storage.broker->publish_guarded(jobs, {}, records);
  } else {
    storage.results->put(records);
    storage.broker->publish(jobs);
  }
}

StoreWrite Stem::Connections::hold(const Posting& posting, bool published) const {
  const auto left = start_of(posting.envelope) + posting.unique->window - Clock::system().wall();
  return {posting.unique_key, to_wire(UniqueHolder{posting.envelope.id, posting.unique->until, published}),
          std::max<Duration>(left, Duration{1})};
}

/// The job that keeps this one away, if there is one; else `version` is what the key has to be of still.
std::optional<std::string> Stem::Connections::holder(Posting& posting, std::int64_t& version) {
  const auto entry = storage.results->get(posting.unique_key);
  version = entry ? entry->version : 0;
  if (!entry) return std::nullopt;
  const auto holder = unique_holder_from_wire(entry->value);
  if (holder.until == UniqueUntil::window && holder.published) return holder.job;
  // Nobody has to release a key: where its job is, it holds.
  const auto view = storage.broker->find(holder.job);
  if (view && view->state != JobView::State::dead) return holder.job;
  if (holder.published) return std::nullopt;
  // Its producer is about to publish it, or died before. Whoever comes does it, under the same id.
  if (const auto [result, any] = record(holder.job); result && is_final(result->state)) return std::nullopt;
  posting.envelope.id = holder.job;
  if (signer) signer->sign(posting.envelope);
  storage.broker->publish(std::span(&posting.envelope, 1));
  storage.results->compare_and_set(hold(posting, true), version);
  return holder.job;
}

/// All or nothing. False if another producer was quicker with one of the keys.
bool Stem::Connections::submit_bound(std::vector<Posting>& postings, std::vector<Enqueued>& enqueued) {
  std::map<std::string, std::string> taken;  // keys of this very call
  std::vector<Envelope> jobs;
  std::vector<StoreGuard> guards;
  std::vector<StoreWrite> writes;
  enqueued.clear();
  for (auto& posting : postings) {
    enqueued.push_back({posting.envelope.id, false});
    if (posting.to.to_everyone) continue;
    if (!posting.unique_key.empty()) {
      std::int64_t version = 0;
      auto held = taken.find(posting.unique_key);
      if (held == taken.end())
        if (auto other = holder(posting, version))
          held = taken.emplace(posting.unique_key, std::move(*other)).first;
      if (held != taken.end()) {
        enqueued.back() = {held->second, held->second != posting.envelope.id};
        continue;
      }
      taken.emplace(posting.unique_key, posting.envelope.id);
      guards.push_back({posting.unique_key, version});
      writes.push_back(hold(posting, true));
    }
    jobs.push_back(posting.envelope);
    writes.insert(writes.end(), posting.records.begin(), posting.records.end());
  }
  if (guards.empty()) {
    if (!jobs.empty()) publish(jobs, writes);
    return true;
  }
  return storage.broker->publish_guarded(jobs, guards, writes).has_value();
}

/// The key first, as not published, then the job, then the key as published. Whoever finds a key without its
/// job publishes it.
Enqueued Stem::Connections::submit_unbound(Posting& posting) {
  for (int tries = 0; tries < most_tries; ++tries) {
    const auto own = posting.envelope.id;
    std::int64_t version = 0;
    if (const auto other = holder(posting, version)) return {*other, *other != own};
    if (!storage.results->compare_and_set(hold(posting, false), version)) continue;
    publish({posting.envelope}, posting.records);
    if (const auto entry = storage.results->get(posting.unique_key);
        entry && unique_holder_from_wire(entry->value).job == own)
      storage.results->compare_and_set(hold(posting, true), entry->version);
    return {own, false};
  }
  throw Error(Exit::try_again, "too many producers are after the unique key " +
                                   printable(posting.unique_key) + " at once; try again");
}

std::vector<Enqueued> Stem::Connections::submit(std::vector<Posting> postings) {
  std::vector<Enqueued> enqueued;
  auto& broker = *storage.broker;
  const bool unique =
      std::any_of(postings.begin(), postings.end(), [](const auto& one) { return !one.unique_key.empty(); });
  if (unique && bound()) {
    int tries = 0;
    while (!submit_bound(postings, enqueued))
      if (++tries == most_tries)
        throw Error(Exit::try_again, "too many producers are after the same unique keys at once; try again");
  } else {
    std::vector<Envelope> jobs;
    std::vector<StoreWrite> records;
    for (auto& posting : postings) {
      enqueued.push_back({posting.envelope.id, false});
      if (!posting.unique_key.empty()) {
        enqueued.back() = submit_unbound(posting);
      } else if (!posting.to.to_everyone) {
        jobs.push_back(posting.envelope);
        records.insert(records.end(), posting.records.begin(), posting.records.end());
      }
    }
    if (!jobs.empty()) publish(jobs, records);
  }
  for (const auto& posting : postings)
    if (posting.to.to_everyone) broker.broadcast(posting.to.name, posting.envelope, posting.to.ttl);
  return enqueued;
}

/// The job's record as it is stored, with its version (0 = none).
std::pair<std::optional<Result>, std::int64_t> Stem::Connections::record(const std::string& id) const {
  const auto entry = storage.results->get(result_key(id));
  if (!entry) return {};
  return {result_from_wire(entry->value), entry->version};
}

Stem::Connections::Look Stem::Connections::look(const std::string& id) const {
  // The broker first: a job that it no longer holds has its record already, for the record is never written
  // later than the acknowledgement.
  const auto view = storage.broker->find(id);
  auto [result, version] = record(id);
  if (view && view->state != JobView::State::dead) {
    const bool silent = view->wire.find("\"stem.ignoreResult\":true") != std::string::npos;
    return {unfinished(id, *view, result), version, silent || (result && is_final(result->state))};
  }
  if (!result || is_final(result->state)) return {std::move(result), version, false};
  const auto members = result->meta.find("group");
  if (members == result->meta.end() || !members->is_number_integer())
    return {std::move(result), version, false};
  std::int64_t ended = 0, failed = 0;
  for (const auto& entry : storage.results->list(canvas_chunk_key(id), SIZE_MAX)) {
    const auto chunk = canvas_chunk_from_wire(entry.value);
    ended += static_cast<std::int64_t>(chunk.ended.count());
    failed += static_cast<std::int64_t>(chunk.failed.count());
  }
  const auto total = members->get<std::int64_t>();
  // The last members' end is in the books a moment before the group's.
  auto group = group_result(id, total, std::min(ended, total - 1), failed);
  group.value["succeeded"] = ended - failed;
  return {std::move(group), version, false};
}

}  // namespace stem
