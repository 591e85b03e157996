#include "cli/dead_letters.hpp"

#include <algorithm>
#include <stem/error.hpp>
#include <stem/result.hpp>

#include "cli/schedule_view.hpp"
#include "cli/table.hpp"
#include "core/name.hpp"
#include "core/wishes.hpp"
#include "worker/attempts.hpp"

namespace stem::cli {
namespace {

std::optional<Envelope> envelope_of(const DeadJob& job) {
  try {
    return envelope_from_wire(job.wire);
  } catch (const Error&) {
    return std::nullopt;
  }
}

bool says_failed(const std::string& record) {
  try {
    return result_from_wire(record).state == TaskState::failed;
  } catch (const Error&) {
    return false;
  }
}

bool matches(const DeadJob& job, const DeadFilter& filter) {
  if (!filter.ids.empty() && std::find(filter.ids.begin(), filter.ids.end(), job.id) == filter.ids.end())
    return false;
  if (!filter.queue.empty() && job.queue != filter.queue) return false;
  return filter.task.empty() || task_of(job) == filter.task;
}

void require_dead(Broker& broker, const std::string& id) {
  const auto job = broker.find(id);
  const auto name = "job '" + printable(id) + "'";
  if (!job)
    throw Error(Exit::no_input, "no queue holds " + name + "; `stem result` may know what became of it");
  if (job->state == JobView::State::dead) return;
  throw Error(Exit::no_input,
              name + " is not dead: it " +
                  (job->state == JobView::State::leased    ? "runs, on " + printable(job->consumer)
                   : job->state == JobView::State::delayed ? std::string("waits for its time")
                                                           : std::string("waits for a worker")));
}

}  // namespace

std::string task_of(const DeadJob& job) {
  const auto envelope = envelope_of(job);
  return envelope ? envelope->name : "?";
}

std::vector<DeadJob> find_dead(Broker& broker, const DeadFilter& filter) {
  for (const auto& id : filter.ids) require_dead(broker, id);
  // More and more of them: the newest are wanted most often, and there may be very many.
  for (std::size_t looked = std::max<std::size_t>(filter.limit, 1000);; looked *= 4) {
    auto all = broker.dead_letters(filter.queue, looked);
    bool seen_enough = all.size() < looked;
    std::vector<DeadJob> found;
    for (auto& job : all) {
      if (filter.since && job.dead_at < *filter.since) {
        seen_enough = true;
        break;
      }
      if (matches(job, filter)) found.push_back(std::move(job));
      if (found.size() == filter.limit && filter.limit > 0) return found;
    }
    if (seen_enough || (!filter.ids.empty() && found.size() >= filter.ids.size())) return found;
  }
}

WallTime since_from(const std::string& text, WallTime now) {
  std::optional<Duration> ago;
  try {
    ago = parse_duration(text);
  } catch (const Error&) {
    // Then it is a time.
  }
  if (ago) return now - *ago;
  try {
    return parse_time(text);
  } catch (const Error&) {
    throw Error(Exit::usage,
                "--since '" + printable(text) +
                    "' is neither a duration, such as 2h, nor a time, such as 2025-01-02T03:04:05Z");
  }
}

std::optional<std::string> replay_fault(const DeadJob& job, const PayloadSigner* signer, WallTime now) {
  try {
    const auto envelope = envelope_from_wire(job.wire);
    if (const auto late = wishes_of(envelope).expires; late && *late <= now)
      return "it was to begin by " + format_time(*late) +
             ", and would be cancelled; enqueue it anew, or purge it";
    if (signer == nullptr) return std::nullopt;
    const auto fault = signer->verify(envelope);
    return fault ? std::optional("its signature would be refused: " + fault->reason) : std::nullopt;
  } catch (const Error& error) {
    return std::string("it cannot be read: ") + error.what();
  }
}

void forget_failures(Store& store, std::span<const std::string> ids) {
  std::vector<StoreWrite> writes;
  std::vector<StoreGuard> guards;
  for (const auto& id : ids) {
    const auto entry = store.get(result_key(id));
    if (!entry || !says_failed(entry->value)) continue;
    writes.push_back({entry->key, "", Duration{1}});
    guards.push_back({entry->key, entry->version});
  }
  if (writes.empty() || store.put_guarded(writes, guards)) return;
  // One of them was replayed by somebody else, and has ended since.
  for (std::size_t i = 0; i < writes.size(); ++i) store.put_guarded({writes[i]}, {guards[i]});
}

std::string dead_table(const std::vector<DeadJob>& jobs, WallTime now) {
  Table table({"ID", "QUEUE", "TASK", "ATTEMPTS", "DIED", "REASON"});
  for (const auto& job : jobs)
    table.add({printable(job.id), printable(job.queue), printable(task_of(job)), std::to_string(job.attempt),
               in_words(job.dead_at, now), printable(job.reason)});
  return table.text();
}

Json to_json(const DeadJob& job, bool whole) {
  const auto envelope = envelope_of(job);
  Json object{{"id", job.id},
              {"queue", job.queue},
              {"task", envelope ? Json(envelope->name) : Json()},
              {"attempt", job.attempt},
              {"deadAt", format_time(job.dead_at)},
              {"reason", job.reason}};
  if (!whole) return object;
  object["meta"] = job.meta;
  // What cannot be read is shown as it is.
  object["envelope"] = envelope ? Json::parse(job.wire, nullptr, false) : Json(job.wire);
  return object;
}

}  // namespace stem::cli
