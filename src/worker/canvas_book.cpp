#include "worker/canvas_book.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <stem/error.hpp>

#include "core/name.hpp"
#include "worker/attempts.hpp"
#include "worker/canvas_keeping.hpp"

namespace stem {
namespace {

constexpr std::size_t tidied_at_once = 500;
constexpr std::size_t longest_failure = 300;
/// Others that are after the same mark at the same time are few.
constexpr int most_tries = 1000;

std::string reason_of(const Result& result) {
  if (result.failure) return result.failure->type + ": " + result.failure->message;
  return to_string(result.state);
}

/// Whether the same may go well later, or has to do with no single job.
bool passes(const Error& error) {
  return error.code() != Exit::usage && error.code() != Exit::data;
}

StoreWrite write_of(const Result& result, Duration ttl) {
  return {result_key(result.id), to_wire(result), ttl};
}

Result cancelled(const Envelope& job, const std::string& type, const std::string& why, WallTime now) {
  Result result;
  result.id = job.id;
  result.state = TaskState::cancelled;
  result.failure = Failure{type, why, false};
  result.meta = {{"task", job.name}, {"queue", job.queue}, {"cancelledAt", format_time(now)}};
  return result;
}

}  // namespace

void CanvasBook::enter(const Unsettled& unsettled) {
  struct End {
    const LeasedJob* job;
    const Settlement* settlement;
    bool succeeded;
  };
  std::vector<End> ends;
  std::vector<Receipt> receipts;
  ending_.clear();
  for (std::size_t i = 0; i < unsettled.size(); ++i) {
    const auto& settlement = unsettled.settlements()[i];
    const auto& job = unsettled.job(i);
    if (!job.canvas || !job.canvas->has_duties() || !settlement.record ||
        job.unrun == LeasedJob::Unrun::repeated)
      continue;
    const bool done = std::holds_alternative<Ack>(settlement.disposition);
    if (!done && !std::holds_alternative<DeadLetter>(settlement.disposition)) continue;
    ends.push_back({&job, &settlement, done && !job.revoked && job.unrun == LeasedJob::Unrun::no});
    receipts.push_back(settlement.receipt);
  }
  if (ends.empty()) return;

  const auto gone = storage_.broker->renew(receipts, lease_);
  const std::set<Receipt> lost(gone.begin(), gone.end());
  std::vector<Firing> firings;
  std::map<Chunk, std::vector<MemberEnd>> members;
  std::vector<std::pair<const CanvasPart*, Result>> broken;
  for (const auto& end : ends) {
    if (lost.contains(end.settlement->receipt)) continue;
    const auto& part = *end.job->canvas;
    const auto& record = end.settlement->record->value;
    for (const auto& next : end.succeeded ? part.then : part.on_failure) firings.push_back({&next, record});
    std::string failure;
    if (!end.succeeded) {
      auto result = result_from_wire(record);
      failure = (result.id + ": " + reason_of(result)).substr(0, longest_failure);
      if (!part.then.empty()) broken.emplace_back(&part, std::move(result));
    }
    if (part.is_member())
      members[{part.group, part.index / CanvasChunk::size}].push_back(
          {&part, !end.succeeded, record, std::move(failure)});
    if (part.is_callback() && end.succeeded) ending_.emplace(end.settlement->receipt, part.callback_of);
  }
  // Who sees that a chain is broken finds what was enqueued because of it.
  fire(std::move(firings));
  for (const auto& [part, why] : broken) abandon(*part, why);
  for (const auto& [chunk, some] : members) {
    try {
      enter_chunk(chunk, some);
    } catch (const Error& error) {
      if (error.code() != Exit::data) throw;
      spdlog::error("the books of the group {} cannot be read: {}", printable(chunk.first), error.what());
    }
  }
}

void CanvasBook::settled(const std::vector<Receipt>& lost) {
  for (const auto& receipt : lost) ending_.erase(receipt);
  for (auto& [receipt, chord] : ending_) tidying_.push_back(std::move(chord));
  ending_.clear();
}

void CanvasBook::tidy() {
  const auto some = storage_.results->list(canvas_member_key(tidying_.front()), tidied_at_once);
  std::vector<StoreWrite> writes;
  for (const auto& entry : some) writes.push_back({entry.key, "", Duration{1}});
  if (!writes.empty()) storage_.results->put(writes);
  if (some.size() < tidied_at_once) tidying_.pop_front();
}

void CanvasBook::fire(std::vector<Firing> firings) {
  if (firings.empty()) return;
  std::set<std::string> seen;
  std::erase_if(firings, [&](const Firing& one) { return !seen.insert(one.job->id).second; });
  if (bound_ && firings.size() > 1) {
    std::vector<Envelope> jobs;
    std::vector<StoreGuard> guards;
    std::vector<StoreWrite> marks;
    for (const auto& one : firings) {
      jobs.push_back(*one.job);
      guards.push_back({canvas_input_key(one.job->id), 0});
      marks.push_back(mark(one, true));
    }
    try {
      if (storage_.broker->publish_guarded(jobs, guards, marks)) return;
    } catch (const Error& error) {
      if (passes(error)) throw;  // else one of them is at fault
    }
  }
  for (const auto& one : firings) fire_one(one);
}

/// A job that the broker will never take must not keep its worker from all others.
void CanvasBook::fire_one(const Firing& firing) {
  try {
    if (publish_once(firing) && firing.ends_chord && on_chord) on_chord(firing.job->name);
  } catch (const Error& error) {
    if (passes(error)) throw;
    spdlog::error("job {} of task {} cannot be enqueued after the one before: {}", printable(firing.job->id),
                  printable(firing.job->name), error.what());
    storage_.results->put(
        {write_of(cancelled(*firing.job, "not-enqueued", error.what(), clock_.wall()), result_ttl_)});
  }
}

/// Whether it was not enqueued before, as far as we can tell.
bool CanvasBook::publish_once(const Firing& firing) {
  const auto& job = *firing.job;
  const auto key = canvas_input_key(job.id);
  auto& store = *storage_.results;
  if (bound_) {
    std::int64_t version = 0;
    while (!storage_.broker->publish_guarded(std::span(&job, 1), {{key, version}}, {mark(firing, true)})) {
      const auto there = store.get(key);
      if (there && is_mark_of(there->value, job)) return false;
      version = there ? there->version : 0;
    }
    return true;
  }
  for (int tries = 0; tries < most_tries; ++tries) {
    const auto there = store.get(key);
    if (!there || !is_mark_of(there->value, job)) {
      store.compare_and_set(mark(firing, false), there ? there->version : 0);
      continue;
    }
    if (there->value.starts_with('1')) return false;
    storage_.broker->publish(std::span(&job, 1));
    auto done = mark(firing, true);
    done.value = canvas_mark(true, job, marked_record(there->value));
    return store.compare_and_set(done, there->version);
  }
  throw Error(Exit::unavailable, "the result backend does not keep what it is given: " + key);
}

/// For as long as the job may wait, and the books are kept.
StoreWrite CanvasBook::mark(const Firing& firing, bool enqueued) const {
  const auto& job = *firing.job;
  return {canvas_input_key(job.id), canvas_mark(enqueued, job, firing.record),
          canvas_life(job.not_before.value_or(WallTime{}), clock_.wall())};
}

/// What was to come after a job that has not succeeded will not.
void CanvasBook::abandon(const CanvasPart& part, const Result& why) {
  if (part.then.empty()) return;
  const auto now = clock_.wall();
  const auto text = "job " + why.id + ", which it was to follow, has not succeeded: " + reason_of(why);
  const auto each = [&](const auto& self, const Envelope& job, std::vector<StoreWrite>& writes) -> void {
    writes.push_back(write_of(cancelled(job, "chain-broken", text, now), result_ttl_));
    if (const auto own = canvas_part(job))
      for (const auto& next : own->then) self(self, next, writes);
  };
  for (const auto& job : part.then) {
    std::vector<StoreWrite> writes;
    each(each, job, writes);
    // An earlier run of the same job may have succeeded, and enqueued it.
    const auto key = canvas_input_key(job.id);
    std::int64_t version = 0;
    while (!storage_.results->put_guarded(writes, {{key, version}})) {
      const auto there = storage_.results->get(key);
      if (there && is_mark_of(there->value, job)) break;
      version = there ? there->version : 0;
    }
  }
}

void CanvasBook::enter_chunk(const Chunk& chunk, const std::vector<MemberEnd>& ends) {
  auto& store = *storage_.results;
  const auto key = canvas_chunk_key(chunk.first, chunk.second);
  const auto& part = *ends.front().part;
  for (;;) {
    const auto now = clock_.wall();
    const auto life = canvas_life(part.until, now);
    const auto entry = store.get(key);
    CanvasChunk books;
    if (entry) books = canvas_chunk_from_wire(entry->value);
    std::vector<StoreWrite> writes;
    bool fresh = false;
    for (const auto& end : ends) {
      const auto bit = static_cast<std::size_t>(end.part->index % CanvasChunk::size);
      if (books.ended[bit]) continue;
      fresh = true;
      books.ended[bit] = true;
      books.failed[bit] = end.failed;
      if (end.failed && books.failure.empty()) books.failure = end.failure;
      if (end.part->chord && !end.failed)
        writes.push_back({canvas_member_key(chunk.first, end.part->index), end.record, life});
    }
    if (fresh) {
      if (books.kept - now < canvas_ttl / 2)
        books.kept = keep_canvas(store, chunk.first, life, canvas_ttl / 2, now);
      writes.push_back({key, to_wire(books), life});
      if (!store.put_guarded(writes, {{key, entry ? entry->version : 0}}))
        continue;  // another worker was quicker
    }
    if (books.complete(chunk.second, part.size)) complete(chunk, books, part.size);
    return;
  }
}

void CanvasBook::complete(const Chunk& chunk, const CanvasChunk& books, std::int64_t members) {
  auto& store = *storage_.results;
  const auto key = canvas_root_key(chunk.first);
  for (;;) {
    const auto entry = store.get(key);
    if (!entry) {
      spdlog::warn(
          "the group {} is forgotten, although members of it end; a group is kept for {} after its last "
          "progress",
          printable(chunk.first), format_duration(canvas_ttl));
      return;
    }
    auto root = canvas_root_from_wire(entry->value);
    if (root.finished || root.members != members) return;
    const auto number = static_cast<std::size_t>(chunk.second);
    if (!root.complete.at(number)) {
      root.complete[number] = true;
      root.failed += static_cast<std::int64_t>(books.failed.count());
      if (root.failure.empty()) root.failure = books.failure;
      // No longer than before: when the root ends says until when all the rest is kept.
      const auto left = std::max(entry->expires.value_or(WallTime{}) - clock_.wall(), Duration{1});
      if (!store.compare_and_set({key, to_wire(root), left}, entry->version)) continue;
    }
    if (root.is_complete()) finish(chunk.first, root);
    return;
  }
}

/// All members have ended. May run again, or on two workers at once.
void CanvasBook::finish(const std::string& group, const CanvasRoot& root) {
  auto& store = *storage_.results;
  auto result = group_result(group, root.members, root.members, root.failed);
  result.meta["completedAt"] = format_time(clock_.wall());
  if (root.failed > 0)
    result.failure = Failure{"member-failed",
                             std::to_string(root.failed) + " of " + std::to_string(root.members) +
                                 " members have not succeeded, such as " + root.failure,
                             false};
  std::vector<StoreWrite> writes{write_of(result, result_ttl_)};
  bool believed = true;
  if (!root.callback.empty()) {
    std::string id;
    try {
      const auto callback = envelope_from_wire(root.callback);
      id = callback.id;
      const auto part = canvas_part(callback);
      if (!part || part->callback_of != group) throw Error(Exit::data, "it is the callback of another chord");
      if (signer_)
        if (const auto fault = signer_->verify(callback)) throw Error(Exit::data, fault->reason);
      if (root.failed == 0) {
        // The callback may wait for a worker as long as any job.
        const auto life = canvas_life(part->until, clock_.wall());
        keep_canvas(store, group, life, life - std::chrono::days{1}, clock_.wall());
        fire({{&callback, to_wire(result), true}});
      } else {
        const auto why = failed_callback(callback, group, root);
        std::vector<Firing> firings;
        for (const auto& next : part->on_failure) firings.push_back({&next, to_wire(why)});
        fire(std::move(firings));
        abandon(*part, why);
        writes.push_back(write_of(why, result_ttl_));
      }
    } catch (const Error& error) {
      if (error.code() != Exit::data) throw;
      spdlog::error("the callback of the chord {} is not to be believed, and is not run: {}",
                    printable(group), error.what());
      believed = false;
      refuse_callback(id, group, error.what());
    }
  }
  store.put(writes);
  if (!believed) return;  // by this worker; one that has the key may still enqueue it
  auto done = root;
  done.finished = true;
  store.put({{canvas_root_key(group), to_wire(done), canvas_ttl}});
}

/// Who waits for the callback is told. What is in the store is not to be believed, so no other job's record
/// is touched.
void CanvasBook::refuse_callback(const std::string& id, const std::string& group, const std::string& why) {
  const auto entry = id.empty() ? std::nullopt : storage_.results->get(result_key(id));
  if (!entry) return;
  Result result;
  try {
    result = result_from_wire(entry->value);
  } catch (const Error&) {
    return;  // nothing that anyone could wait for
  }
  const auto whom = result.meta.find("waitsFor");
  if (result.state != TaskState::queued || whom == result.meta.end() || *whom != group) return;
  result.state = TaskState::failed;
  result.failure = Failure{"signature-invalid", why, false};
  result.meta["failedAt"] = format_time(clock_.wall());
  storage_.results->compare_and_set(write_of(result, result_ttl_), entry->version);
}

Result CanvasBook::failed_callback(const Envelope& callback, const std::string& group,
                                   const CanvasRoot& root) const {
  auto result = cancelled(callback, "chord-broken",
                          std::to_string(root.failed) + " of the " + std::to_string(root.members) +
                              " members of " + group + " have not succeeded, such as " + root.failure,
                          clock_.wall());
  result.state = TaskState::failed;
  result.meta["chordId"] = group;
  return result;
}

}  // namespace stem
