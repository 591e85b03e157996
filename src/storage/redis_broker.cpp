#include "storage/redis_broker.hpp"

#include <set>

#include "storage/distinct.hpp"
#include "storage/instant.hpp"
#include "storage/redis_dead.hpp"
#include "storage/redis_fields.hpp"
#include "storage/redis_scores.hpp"
#include "storage/redis_store.hpp"
#include "storage/redis_subscription.hpp"

namespace stem {
namespace {

/// `mail:p5` is the stream of queue `mail` for priority 5.
void require_own_streams(const std::string& queue) {
  const auto size = queue.size();
  if (size > 3 && queue.compare(size - 3, 2, ":p") == 0 && queue.back() >= '1' && queue.back() <= '9')
    throw Error(Exit::usage, "queue '" + queue +
                                 "' cannot be on Redis: its jobs would be those of priority " + queue.back() +
                                 " of queue '" + queue.substr(0, size - 3) + "'; choose another name");
}

void add_record(RedisCommand& command, const StoreWrite& record) {
  command.add(record.key).add(record.value).add(record.ttl.count());
}

}  // namespace

RedisBroker::RedisBroker(std::shared_ptr<RedisClient> client, const Clock& clock)
    : client_(std::move(client)), clock_(clock) {}

ServerWatch& RedisBroker::watch() const {
  std::call_once(watched_, [this] {
    watch_ = std::make_unique<ServerWatch>(redis_subscription(client_->address(), client_->channel("jobs")));
  });
  return *watch_;
}

Wake RedisBroker::clear_wake() {
  Wake wake;
  const bool sure = watch().clear(
      [&](std::string_view text) { (text == redis_broadcast_wake ? wake.broadcasts : wake.jobs) = true; });
  return sure ? wake : Wake{.jobs = true, .broadcasts = true};
}

bool RedisBroker::keeps_records_of(const Store& store) const {
  const auto* const ours = dynamic_cast<const RedisStore*>(&store);
  return ours != nullptr && ours->client().address().same_place(client_->address());
}

std::size_t RedisBroker::publish(std::span<const Envelope> jobs) {
  return *publish_guarded(jobs, {}, {});
}

std::optional<std::size_t> RedisBroker::publish_guarded(std::span<const Envelope> jobs,
                                                        const std::vector<StoreGuard>& guards,
                                                        const std::vector<StoreWrite>& records) {
  if (jobs.empty() && records.empty() && guards.empty()) return 0;
  const auto now = clock_.wall();
  RedisCommand words;
  words.add(micros(now)).add(client_->channel("jobs")).add(client_->channel("records"));
  words.add(static_cast<std::int64_t>(guards.size())).add(static_cast<std::int64_t>(jobs.size()));
  words.add(static_cast<std::int64_t>(records.size()));
  for (const auto& guard : guards) words.add(guard.key).add(guard.version);
  for (const auto& job : jobs) {
    if (job.priority < 0 || job.priority > 9)
      throw Error(Exit::usage, "priority must be 0 to 9, not " + std::to_string(job.priority));
    require_own_streams(job.queue);
    words.add(job.id).add(job.queue).add(job.priority);
    if (job.not_before && *job.not_before > now) {
      words.add(score_of(*job.not_before)).add(1).add(to_wire(job));
    } else {
      words.add("").add(redis_entry_words);
      add_entry(words, job, now);
    }
  }
  for (const auto& record : records) add_record(words, record);
  const auto added = client_->run(RedisScript::publish, words)->number();
  return added < 0 ? std::nullopt : std::optional(static_cast<std::size_t>(added));
}

RedisCommand RedisBroker::exchange_words(const RedisCommand& settlements, std::int64_t count,
                                         const Demand& demand, const std::vector<std::string>& queues,
                                         WallTime now, std::int64_t token, bool look) {
  RedisCommand words;
  words.add(micros(now)).add(score_of(now)).add(client_->channel("jobs")).add(client_->channel("records"));
  words.add(count).add(settlements);
  words.add(static_cast<std::int64_t>(queues.empty() ? 0 : demand.limit))
      .add(demand.lease.count())
      .add(token);
  words.add(demand.consumer.empty() ? "stem" : demand.consumer).add(look ? "1" : "0");
  words.add(static_cast<std::int64_t>(queues.size()));
  for (const auto& queue : queues) words.add(queue);
  return words;
}

Exchange RedisBroker::exchange(std::span<const Settlement> settled, const Demand& demand) {
  Exchange result;
  const auto queues = distinct(demand.queues);
  for (const auto& queue : queues) require_own_streams(queue);
  const bool fetching = demand.limit > 0 && !queues.empty();
  if (settled.empty() && !fetching) return result;
  const auto now = clock_.wall();
  const auto token = tokens_.next();

  RedisCommand settlements;
  std::vector<Receipt> sent;
  std::set<Receipt> seen;
  for (const auto& one : settled) {
    const auto lease = seen.insert(one.receipt).second ? leases_.held(one.receipt) : std::nullopt;
    if (!lease) {
      result.lost.push_back(one.receipt);
      continue;
    }
    sent.push_back(one.receipt);
    const auto words = [&](std::string_view kind, std::string_view first = "", std::string_view second = "",
                           std::string_view third = "") {
      settlements.add(kind)
          .add(lease->queue)
          .add(lease->priority)
          .add(lease->entry)
          .add(lease->id)
          .add(lease->token);
      settlements.add(first).add(second).add(third);
    };
    const auto later = [&](WallTime due) { return due > now ? score_of(due) : std::string(); };
    if (const auto* retry = std::get_if<RetryAt>(&one.disposition)) {
      words("R", later(retry->due), lease->wire, std::to_string(lease->attempt + 1));
    } else if (const auto* release = std::get_if<Release>(&one.disposition)) {
      words("P", later(release->due), lease->wire);
    } else if (const auto* letter = std::get_if<DeadLetter>(&one.disposition)) {
      words("L", dead_text({.id = lease->id,
                            .queue = lease->queue,
                            .wire = lease->wire,
                            .attempt = lease->attempt,
                            .reason = letter->reason,
                            .meta = letter->meta,
                            .dead_at = now}));
    } else {
      words("A");
    }
    if (one.record)
      add_record(settlements, *one.record);
    else
      settlements.add("").add("").add("");
  }
  if (sent.empty() && !fetching) return result;

  const auto count = static_cast<std::int64_t>(sent.size());
  const auto reply = client_->run(RedisScript::exchange,
                                  exchange_words(settlements, count, demand, queues, now, token, true));
  const auto& lost = (*reply)[0];
  for (std::size_t i = 0; i < lost.size(); ++i)
    result.lost.push_back(sent.at(static_cast<std::size_t>(lost[i].number())));
  for (const auto& receipt : sent) leases_.drop(receipt);
  if ((*reply)[1].size() == 0) {
    result.deliveries = take(*reply, queues, token);
    return result;
  }
  // Arguments of delayed jobs are text that a script could not take apart without changing it.
  try {
    const auto replies =
        client_->run({{RedisScript::promote, promotion((*reply)[1], queues)},
                      {RedisScript::exchange, exchange_words({}, 0, demand, queues, now, token, false)}});
    result.deliveries = take(*replies[1], queues, token);
  } catch (const Error&) {
    // What was settled is settled, and must be told; what was to be fetched is fetched next time.
    if (sent.empty()) throw;
  }
  return result;
}

RedisCommand RedisBroker::promotion(const RedisValue& due, const std::vector<std::string>& queues) {
  RedisCommand jobs;
  std::int64_t count = 0;
  for (std::size_t i = 0; i < due.size(); ++i) {
    const auto& queue = queues.at(static_cast<std::size_t>(due[i][0].number()));
    const auto& found = due[i][1];
    for (std::size_t at = 0; at + 1 < found.size(); at += 2, ++count) {
      const auto wire = found[at].text;
      jobs.add(queue).add(wire);
      RedisCommand words;
      try {
        const auto job = envelope_from_wire(wire);
        words.add(job.id).add(job.priority).add(redis_entry_words);
        add_entry(words, job, time_of_score(found[at + 1].text));
      } catch (const Error&) {
        const auto id = "malformed-" + std::string(found[at + 1].text);
        words = RedisCommand();
        words.add(id).add("0").add("4").add("id").add(id).add("wire").add(wire);
      }
      jobs.add(words);
    }
  }
  return RedisCommand().add(count).add(jobs);
}

std::vector<Delivery> RedisBroker::take(const RedisValue& reply, const std::vector<std::string>& queues,
                                        std::int64_t token) {
  const auto& jobs = reply[2];
  const auto& attempts = reply[3];
  std::vector<Delivery> deliveries;
  deliveries.reserve(jobs.size());
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const auto& job = jobs[i];
    auto entry = read_entry(job[4]);
    if (i < attempts.size() && !attempts[i].is_nil()) entry.attempt = static_cast<int>(attempts[i].number());
    const auto& queue = queues.at(static_cast<std::size_t>(job[0].number()));
    const auto receipt = leases_.add({.token = token,
                                      .queue = queue,
                                      .entry = std::string(job[2].text),
                                      .id = entry.id,
                                      .wire = entry.wire,
                                      .priority = static_cast<int>(job[1].number()),
                                      .attempt = entry.attempt});
    deliveries.push_back({.receipt = receipt,
                          .id = std::move(entry.id),
                          .queue = queue,
                          .wire = std::move(entry.wire),
                          .attempt = entry.attempt,
                          .deliveries = static_cast<int>(job[3].number())});
  }
  return deliveries;
}

std::vector<Receipt> RedisBroker::renew(std::span<const Receipt> leases, Duration length) {
  std::vector<Receipt> lost, sent;
  RedisCommand words;
  for (const auto& receipt : leases) {
    if (const auto lease = leases_.held(receipt)) {
      words.add(lease->queue).add(lease->priority).add(lease->entry).add(lease->token);
      sent.push_back(receipt);
    } else {
      lost.push_back(receipt);
    }
  }
  if (sent.empty()) return lost;
  RedisCommand all;
  all.add(micros(clock_.wall() + length)).add(static_cast<std::int64_t>(sent.size())).add(words);
  const auto reply = client_->run(RedisScript::renew, all);
  for (std::size_t i = 0; i < reply->size(); ++i) {
    lost.push_back(sent.at(static_cast<std::size_t>((*reply)[i].number())));
    leases_.drop(lost.back());
  }
  return lost;
}

std::optional<WallTime> RedisBroker::next_due(const std::vector<std::string>& queues) {
  RedisCommand words;
  for (const auto& queue : queues) words.add(queue);
  const auto reply = client_->run(RedisScript::next_due, words);
  std::optional<WallTime> next;
  const auto sooner = [&](WallTime time) { next = std::min(next.value_or(time), time); };
  for (std::size_t i = 0; i + 1 < reply->size(); i += 2) {
    if (const auto score = (*reply)[i].text; !score.empty()) sooner(time_of_score(score));
    if (const auto end = (*reply)[i + 1].text; !end.empty()) sooner(time_of_micros(end));
  }
  return next;
}

}  // namespace stem
