#include "storage/sqlite_broker.hpp"

#include <algorithm>
#include <random>
#include <set>

#include "storage/sqlite_store.hpp"

namespace stem {
namespace {

constexpr std::int64_t promoted_at_once = 256;
constexpr int last_lane = 9;

WallTime wall_time(std::int64_t micros) {
  return WallTime(Duration(micros));
}
std::int64_t micros(WallTime time) {
  return time.time_since_epoch().count();
}

/// Tokens count up from a random start, so that no two processes ever use the same one.
std::int64_t random_start() {
  std::random_device device;
  return static_cast<std::int64_t>(
      std::uniform_int_distribution<std::int64_t>(1, std::int64_t{1} << 61)(device));
}

}  // namespace

/// Where a fetch stands in one queue.
struct SqliteBroker::Cursor {
  const SqliteQueues::Queue* queue;
  std::int64_t position;  // keys below were looked at
  std::int64_t end;
  std::optional<std::int64_t> head;  // the next job that may be leased
};

SqliteBroker::SqliteBroker(std::shared_ptr<SqliteDatabase> database, const Clock& clock)
    : database_(std::move(database)),
      clock_(clock),
      jobs_bell_(jobs_bell(*database_)),
      records_bell_(records_bell(*database_)),
      token_(random_start()),
      queues_(*database_),
      leases_(*database_),
      jobs_(*database_, leases_),
      entries_(*database_),
      messages_(*database_),
      peek_(*database_, "SELECT key FROM job WHERE key BETWEEN ? AND ? ORDER BY key LIMIT 1"),
      take_(*database_,
            "SELECT key, id, wire, attempt, deliveries, lease FROM job WHERE key BETWEEN ? AND ? "
            "ORDER BY key LIMIT ?"),
      first_due_(*database_, "SELECT min(due) FROM job WHERE queue = ? AND due IS NOT NULL"),
      keys_(*database_, "SELECT key FROM job WHERE key BETWEEN ? AND ?"),
      by_id_(*database_, "SELECT key, wire, attempt, deliveries, due FROM job WHERE id = ?"),
      all_keys_(*database_, "SELECT key FROM job INDEXED BY job_id"),
      since_(*database_, "SELECT since FROM job WHERE key = ?"),
      overdue_(*database_, "SELECT count(*), min(due) FROM job WHERE queue = ? AND due <= ?"),
      dead_(*database_,
            "SELECT job.key, id, wire, attempt, reason, meta, at FROM dead JOIN job USING(key) "
            "ORDER BY at DESC, dead.key DESC"),
      dead_in_(*database_,
               "SELECT job.key, id, wire, attempt, reason, meta, at FROM dead JOIN job USING(key) "
               "WHERE dead.key BETWEEN ? AND ? ORDER BY at DESC, dead.key DESC"),
      why_dead_(*database_, "SELECT reason FROM dead WHERE key = ?") {}

BellWatch& SqliteBroker::watch() const {
  std::call_once(watched_, [this] { watch_ = std::make_unique<BellWatch>(jobs_bell_); });
  return *watch_;
}

Wake SqliteBroker::clear_wake() {
  watch().clear();
  return {.jobs = true, .broadcasts = true};
}

void SqliteBroker::broadcast(const std::string& channel, const Envelope& message, Duration ttl) {
  const auto wire = to_wire(message);
  {
    SqliteTransaction transaction(*database_, SqliteAccess::write);
    const auto now = clock_.wall();
    messages_.sweep(now);
    messages_.add(channel, wire, now + ttl);
    transaction.commit();
  }
  jobs_bell_.ring();
}

std::vector<Broadcast> SqliteBroker::listen(std::vector<Listening>& channels, std::size_t limit) {
  SqliteTransaction transaction(*database_, SqliteAccess::read);
  return messages_.listen(channels, limit, clock_.wall());
}

bool SqliteBroker::keeps_records_of(const Store& store) const {
  const auto* const ours = dynamic_cast<const SqliteStore*>(&store);
  // The file counts, not the connection: what is written by either is the same table.
  return ours != nullptr && ours->database().path() == database_->path();
}

std::size_t SqliteBroker::publish(std::span<const Envelope> envelopes) {
  return *publish_guarded(envelopes, {}, {});
}

std::optional<std::size_t> SqliteBroker::publish_guarded(std::span<const Envelope> envelopes,
                                                         const std::vector<StoreGuard>& guards,
                                                         const std::vector<StoreWrite>& records) {
  // All that takes time is done before others are kept waiting.
  std::vector<std::string> wires;
  for (const auto& envelope : envelopes) {
    if (envelope.priority < 0 || envelope.priority > 9)
      throw Error(Exit::usage, "priority must be 0 to 9, not " + std::to_string(envelope.priority));
    wires.push_back(to_wire(envelope));
  }
  std::size_t added = 0;
  {
    SqliteTransaction transaction(*database_, SqliteAccess::write);
    if (!entries_.hold(guards, clock_.wall())) return std::nullopt;
    // Inside: what is remembered of queues is guarded by the transaction's hold on the connection.
    try {
      jobs_.begin();
      std::vector<SqliteJobs::NewJob> jobs;
      const auto now = clock_.wall();
      for (std::size_t i = 0; i < envelopes.size(); ++i) {
        const auto& envelope = envelopes[i];
        jobs.push_back({.id = envelope.id,
                        .wire = wires[i],
                        .queue = queues_.make(envelope.queue).number,
                        .priority = envelope.priority,
                        .attempt = envelope.attempt,
                        .due = envelope.not_before,
                        .lease = envelope.visibility_timeout});
      }
      added = jobs_.add(jobs, now);
      std::vector<const StoreWrite*> writes;
      for (const auto& record : records) writes.push_back(&record);
      entries_.put(writes, now);
      transaction.commit();
    } catch (...) {
      queues_.forget();
      throw;
    }
  }
  if (added > 0) jobs_bell_.ring();
  if (!records.empty()) records_bell_.ring();
  return added;
}

Exchange SqliteBroker::exchange(std::span<const Settlement> settled, const Demand& demand) {
  Exchange result;
  bool ring_jobs = false;
  std::vector<const StoreWrite*> records;
  if (settled.empty()) {
    // A bell wakes every idle worker. Those who come too late must not queue up for the right to write.
    if (demand.limit == 0) return result;
    SqliteTransaction reading(*database_, SqliteAccess::read);
    leases_.load();
    if (!anything_for(demand, clock_.wall())) return result;
  }
  {
    SqliteTransaction transaction(*database_,
                                  settled.empty() ? SqliteAccess::write_lazily : SqliteAccess::write);
    // Leases last from now on, however long it took to get here.
    const auto now = clock_.wall();
    leases_.load();
    jobs_.begin();
    ring_jobs = settle(settled, now, records, result.lost);
    entries_.put(records, now);
    if (demand.limit > 0) lease(demand, now, result.deliveries);
    transaction.commit();
  }
  if (ring_jobs) jobs_bell_.ring();
  if (!records.empty()) records_bell_.ring();
  return result;
}

bool SqliteBroker::settle(std::span<const Settlement> settled, WallTime now,
                          std::vector<const StoreWrite*>& records, std::vector<Receipt>& lost) {
  // In the order of keys, so that jobs leased in a row and done together are deleted as one range.
  std::vector<const Settlement*> order;
  for (const auto& settlement : settled) order.push_back(&settlement);
  std::stable_sort(order.begin(), order.end(),
                   [](const auto* a, const auto* b) { return a->receipt.job < b->receipt.job; });

  const auto is_ack = [](const Settlement* one) { return std::holds_alternative<Ack>(one->disposition); };
  const auto end_of_run = [&](std::size_t begin, const SqliteLeases::Span& span) {
    auto end = begin + 1;
    while (end < order.size() && is_ack(order[end]) && order[end]->receipt.token == span.token &&
           order[end]->receipt.job == order[end - 1]->receipt.job + 1 && span.covers(order[end]->receipt.job))
      ++end;
    return end;
  };

  bool sooner = false;
  std::vector<SqliteLeases::Span> touched;
  const auto settle_one = [&](const Settlement& one) {
    if (!end(one, now)) return lost.push_back(one.receipt);
    sooner = sooner || std::holds_alternative<RetryAt>(one.disposition) ||
             std::holds_alternative<Release>(one.disposition);
    if (one.record) records.push_back(&*one.record);
  };
  for (std::size_t i = 0; i < order.size();) {
    const auto* const span = leases_.held(order[i]->receipt);
    if (span == nullptr) {
      lost.push_back(order[i++]->receipt);
      continue;
    }
    if (touched.empty() || touched.back().last < span->last) touched.push_back(*span);
    const auto last = is_ack(order[i]) ? end_of_run(i, *span) : i + 1;
    // One of them may be gone: settled twice by the same holder. Then each has to be looked at.
    const bool together = last - i > 1 && jobs_.remove(order[i]->receipt.job, order[last - 1]->receipt.job);
    for (; i < last; ++i) {
      if (!together)
        settle_one(*order[i]);
      else if (order[i]->record)
        records.push_back(&*order[i]->record);
    }
  }
  for (const auto& span : touched) leases_.drop_empty(span.first, span.last);
  return sooner;
}

bool SqliteBroker::end(const Settlement& settlement, WallTime now) {
  struct Way {
    SqliteBroker& broker;
    SqliteKey key;
    WallTime now;
    bool operator()(const Ack&) { return broker.jobs_.remove(key.value(), key.value()); }
    bool operator()(const RetryAt& retry) { return broker.jobs_.postpone(key, 1, retry.due, now); }
    bool operator()(const DeadLetter& dead) { return broker.jobs_.bury(key, dead.reason, dead.meta, now); }
    bool operator()(const Release& release) {
      if (release.due > now) return broker.jobs_.postpone(key, 0, release.due, now);
      if (!broker.jobs_.put_back(key)) return false;
      broker.leases_.remove(key.value(), key.value());
      return true;
    }
  };
  return std::visit(Way{*this, settlement.receipt.job, now}, settlement.disposition);
}

std::vector<SqliteBroker::Cursor> SqliteBroker::cursors(const Demand& demand, WallTime now) {
  std::vector<Cursor> cursors;
  for (const auto* queue : queues_.find(demand.queues)) {
    const SqliteKey start(SqliteKey::Zone::ready, queue->number, 0, 0);
    cursors.push_back({queue, start.value(), start.end_of_queue(), std::nullopt});
    look_ahead(cursors.back(), micros(now));
  }
  return cursors;
}

void SqliteBroker::look_ahead(Cursor& cursor, std::int64_t now) {
  for (;;) {
    cursor.head = peek_.number(cursor.position, cursor.end);
    if (!cursor.head) return;
    const auto* const span = leases_.covering(*cursor.head);
    if (span == nullptr || span->until <= now) return;
    cursor.position = span->last + 1;
  }
}

bool SqliteBroker::anything_for(const Demand& demand, WallTime now) {
  for (const auto& cursor : cursors(demand, now)) {
    if (cursor.head) return true;
    const auto due = first_due_.number(cursor.queue->number);
    if (due && *due <= micros(now)) return true;
  }
  return false;
}

void SqliteBroker::lease(const Demand& demand, WallTime now, std::vector<Delivery>& deliveries) {
  for (const auto* queue : queues_.find(demand.queues)) jobs_.promote(queue->number, promoted_at_once, now);
  ++token_;
  auto all = cursors(demand, now);
  while (deliveries.size() < demand.limit) {
    // The best lane first; in the same lane the queue that was named first.
    Cursor* best = nullptr;
    for (auto& cursor : all)
      if (cursor.head && (best == nullptr || SqliteKey(*cursor.head).lane() < SqliteKey(*best->head).lane()))
        best = &cursor;
    if (best == nullptr) return;
    take(*best, demand, now, deliveries);
    if (deliveries.size() < demand.limit) look_ahead(*best, micros(now));
  }
}

void SqliteBroker::take(Cursor& cursor, const Demand& demand, WallTime now,
                        std::vector<Delivery>& deliveries) {
  const auto first = *cursor.head;
  const auto* const covering = leases_.covering(first);
  const bool taken_over = covering != nullptr;  // its lease has ended
  const auto ended = taken_over ? *covering : SqliteLeases::Span{};
  auto end = SqliteKey(first).end_of_lane();
  if (taken_over)
    end = ended.last;
  else if (const auto* const next = leases_.after(first))
    end = std::min(end, next->first - 1);

  // One span for each stretch of jobs that get the same lease.
  std::vector<SqliteLeases::Span> spans;
  const auto room =
      static_cast<std::int64_t>(std::min<std::size_t>(demand.limit - deliveries.size(), INT32_MAX));
  for (auto rows = take_.query(first, end, room); rows.next();) {
    const auto key = rows.integer(0);
    const auto length = std::max(demand.lease, Duration(rows.integer(5)));
    const auto until = micros(now + length);
    if (spans.empty() || spans.back().until != until)
      spans.push_back({.first = key, .last = key, .token = token_, .until = until});
    spans.back().last = key;
    deliveries.push_back({.receipt = {.job = key, .token = token_},
                          .id = rows.text(1),
                          .queue = cursor.queue->name,
                          .wire = rows.text(2),
                          .attempt = static_cast<int>(rows.integer(3)),
                          .deliveries = static_cast<int>(rows.integer(4)) + (taken_over ? 2 : 1)});
  }
  const auto last = spans.back().last;
  if (taken_over) {
    jobs_.count_delivery(first, last);
    leases_.remove(first, last);
    leases_.drop_empty(ended.first, ended.last);
  }
  for (const auto& span : spans) leases_.add(span, demand.consumer);
  cursor.position = last + 1;
}

std::vector<Receipt> SqliteBroker::renew(std::span<const Receipt> receipts, Duration lease) {
  std::vector<Receipt> lost;
  if (receipts.empty()) return lost;
  std::vector<Receipt> order(receipts.begin(), receipts.end());
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.job < b.job; });

  SqliteTransaction transaction(*database_, SqliteAccess::write_lazily);
  leases_.load();
  const auto until = micros(clock_.wall() + lease);
  for (std::size_t i = 0; i < order.size();) {
    const auto* const held = leases_.held(order[i]);
    if (held == nullptr) {
      lost.push_back(order[i++]);
      continue;
    }
    // Those of the span that are to be renewed, against those that are there: where they agree, the whole
    // span is renewed; where the holder has let go of some, only the stretches in between.
    const auto span = *held;
    std::set<std::int64_t> wanted;
    for (; i < order.size() && span.covers(order[i].job); ++i) {
      if (order[i].token == span.token)
        wanted.insert(order[i].job);
      else
        lost.push_back(order[i]);
    }
    std::vector<std::int64_t> there;
    for (auto rows = keys_.query(span.first, span.last); rows.next();) there.push_back(rows.integer(0));
    for (auto key = there.begin(); key != there.end();) {
      const auto stretch = std::find_if(key, there.end(), [&](auto one) { return !wanted.contains(one); });
      if (stretch != key)
        leases_.prolong(key == there.begin() ? span.first : *key,
                        stretch == there.end() ? span.last : *std::prev(stretch), until);
      key = stretch == there.end() ? stretch : std::next(stretch);
    }
    for (const auto key : wanted)
      if (!std::binary_search(there.begin(), there.end(), key))
        lost.push_back({.job = key, .token = span.token});
  }
  transaction.commit();
  return lost;
}

std::optional<WallTime> SqliteBroker::next_due(const std::vector<std::string>& names) {
  SqliteTransaction transaction(*database_, SqliteAccess::read);
  std::optional<std::int64_t> next;
  const auto sooner = [&](std::int64_t time) { next = std::min(next.value_or(time), time); };
  std::set<std::int64_t> numbers;
  for (const auto* queue : queues_.find(names)) {
    numbers.insert(queue->number);
    if (const auto due = first_due_.number(queue->number)) sooner(*due);
  }
  leases_.load();
  for (const auto& [first, span] : leases_.all())
    if (numbers.contains(SqliteKey(first).queue())) sooner(span.until);
  return next ? std::optional(wall_time(*next)) : std::nullopt;
}

std::optional<JobView> SqliteBroker::find(const std::string& id) {
  SqliteTransaction transaction(*database_, SqliteAccess::read);
  const auto now = micros(clock_.wall());
  auto rows = by_id_.query(id);
  if (!rows.next()) return std::nullopt;
  const SqliteKey key(rows.integer(0));
  JobView view{.state = JobView::State::ready,
               .wire = rows.text(1),
               .attempt = static_cast<int>(rows.integer(2)),
               .deliveries = static_cast<int>(rows.integer(3)),
               .due = std::nullopt,
               .consumer = {},
               .reason = {}};
  switch (key.zone()) {
    case SqliteKey::Zone::ready: {
      leases_.load();
      const auto* const span = leases_.covering(key.value());
      if (span == nullptr) break;
      ++view.deliveries;
      if (span->until <= now) break;
      view.state = JobView::State::leased;
      view.due = wall_time(span->until);
      view.consumer = leases_.consumer(span->first);
      break;
    }
    case SqliteKey::Zone::delayed:
      if (rows.integer(4) <= now) break;
      view.state = JobView::State::delayed;
      view.due = wall_time(rows.integer(4));
      break;
    case SqliteKey::Zone::dead: {
      view.state = JobView::State::dead;
      auto why = why_dead_.query(key.value());
      if (why.next()) view.reason = why.text(0);
      break;
    }
  }
  return view;
}

std::vector<QueueDepth> SqliteBroker::depths() {
  SqliteTransaction transaction(*database_, SqliteAccess::read);
  const auto now = micros(clock_.wall());
  leases_.load();
  std::map<std::int64_t, std::map<SqliteKey::Zone, std::int64_t>> counts;
  for (auto rows = all_keys_.query(); rows.next();) {
    const SqliteKey key(rows.integer(0));
    ++counts[key.queue()][key.zone()];
  }
  std::map<std::int64_t, std::int64_t> leased;
  for (const auto& [first, span] : leases_.all())
    if (span.until > now)
      for (auto rows = keys_.query(span.first, span.last); rows.next();) ++leased[SqliteKey(first).queue()];

  std::vector<QueueDepth> depths;
  for (const auto& [number, zones] : counts) {
    const auto count = [&zones = zones](SqliteKey::Zone zone) {
      return zones.contains(zone) ? zones.at(zone) : 0;
    };
    QueueDepth depth{.queue = queues_.name(number),
                     .ready = count(SqliteKey::Zone::ready) - leased[number],
                     .delayed = count(SqliteKey::Zone::delayed),
                     .leased = leased[number],
                     .dead = count(SqliteKey::Zone::dead),
                     .oldest_ready = std::nullopt};
    const auto older = [&](std::int64_t since) {
      depth.oldest_ready = std::min(depth.oldest_ready.value_or(wall_time(since)), wall_time(since));
    };
    {
      // Delayed jobs whose time has come wait for a fetch to move them.
      auto rows = overdue_.query(number, now);
      if (rows.next() && rows.integer(0) > 0) {
        depth.ready += rows.integer(0);
        depth.delayed -= rows.integer(0);
        older(rows.integer(1));
      }
    }
    for (std::int64_t lane = 0; lane <= last_lane; ++lane) {
      const SqliteKey start(SqliteKey::Zone::ready, number, lane, 0);
      Cursor cursor{nullptr, start.value(), start.end_of_lane(), std::nullopt};
      look_ahead(cursor, now);
      if (cursor.head) older(since_.number(*cursor.head).value_or(now));
    }
    depths.push_back(std::move(depth));
  }
  std::sort(depths.begin(), depths.end(), [](const auto& a, const auto& b) { return a.queue < b.queue; });
  return depths;
}

std::vector<DeadJob> SqliteBroker::dead_letters(const std::string& name, std::size_t limit) {
  SqliteTransaction transaction(*database_, SqliteAccess::read);
  std::vector<DeadJob> found;
  const auto collect = [&](SqliteRows& rows) {
    while (found.size() < limit && rows.next()) {
      found.push_back({.id = rows.text(1),
                       .queue = queues_.name(SqliteKey(rows.integer(0)).queue()),
                       .wire = rows.text(2),
                       .attempt = static_cast<int>(rows.integer(3)),
                       .reason = rows.text(4),
                       .meta = Json::parse(rows.view(5), nullptr, false),
                       .dead_at = wall_time(rows.integer(6))});
    }
  };
  if (name.empty()) {
    auto rows = dead_.query();
    collect(rows);
  } else if (const auto* const queue = queues_.find(name)) {
    const SqliteKey start(SqliteKey::Zone::dead, queue->number, 0, 0);
    auto rows = dead_in_.query(start.value(), start.end_of_queue());
    collect(rows);
  }
  return found;
}

std::vector<SqliteKey> SqliteBroker::dead_keys(std::span<const std::string> ids) {
  std::vector<SqliteKey> keys;
  for (const auto& id : ids) {
    const auto key = by_id_.number(id);
    if (key && SqliteKey(*key).zone() == SqliteKey::Zone::dead) keys.emplace_back(*key);
  }
  return keys;
}

std::size_t SqliteBroker::replay(std::span<const std::string> ids) {
  std::size_t replayed = 0;
  {
    SqliteTransaction transaction(*database_, SqliteAccess::write);
    jobs_.begin();
    const auto now = clock_.wall();
    for (const auto key : dead_keys(ids)) replayed += jobs_.unearth(key, now);
    transaction.commit();
  }
  if (replayed > 0) jobs_bell_.ring();
  return replayed;
}

std::size_t SqliteBroker::purge(std::span<const std::string> ids) {
  SqliteTransaction transaction(*database_, SqliteAccess::write);
  std::size_t purged = 0;
  for (const auto key : dead_keys(ids)) purged += jobs_.purge(key);
  transaction.commit();
  return purged;
}

}  // namespace stem
