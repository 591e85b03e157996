#include "storage/sqlite_broker.hpp"

#include <algorithm>
#include <set>

#include "storage/instant.hpp"
#include "storage/sqlite_store.hpp"

namespace stem {

SqliteBroker::SqliteBroker(std::shared_ptr<SqliteDatabase> database, const Clock& clock)
    : database_(std::move(database)),
      clock_(clock),
      jobs_bell_(jobs_bell(*database_)),
      records_bell_(records_bell(*database_)),
      queues_(*database_),
      leases_(*database_),
      jobs_(*database_, leases_),
      fetcher_(*database_, queues_, leases_, jobs_),
      settling_(*database_, leases_, jobs_),
      dead_letters_(*database_, queues_, jobs_),
      view_(*database_, queues_, leases_, fetcher_),
      entries_(*database_),
      messages_(*database_) {}

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
    if (!fetcher_.anything_for(demand, clock_.wall())) return result;
  }
  {
    SqliteTransaction transaction(*database_,
                                  settled.empty() ? SqliteAccess::write_lazily : SqliteAccess::write);
    // Leases last from now on, however long it took to get here.
    const auto now = clock_.wall();
    leases_.load();
    jobs_.begin();
    ring_jobs = settling_.settle(settled, now, records, result.lost);
    entries_.put(records, now);
    if (demand.limit > 0) fetcher_.lease(demand, now, result.deliveries);
    transaction.commit();
  }
  if (ring_jobs) jobs_bell_.ring();
  if (!records.empty()) records_bell_.ring();
  return result;
}

std::vector<Receipt> SqliteBroker::renew(std::span<const Receipt> receipts, Duration lease) {
  if (receipts.empty()) return {};
  SqliteTransaction transaction(*database_, SqliteAccess::write_lazily);
  leases_.load();
  auto lost = settling_.renew(receipts, micros(clock_.wall() + lease));
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
    if (const auto due = fetcher_.first_due(queue->number)) sooner(*due);
  }
  leases_.load();
  for (const auto& [first, span] : leases_.all())
    if (numbers.contains(SqliteKey(first).queue())) sooner(span.until);
  return next ? std::optional(wall_time(*next)) : std::nullopt;
}

std::optional<JobView> SqliteBroker::find(const std::string& id) {
  SqliteTransaction transaction(*database_, SqliteAccess::read);
  leases_.load();
  return view_.find(id, micros(clock_.wall()));
}

std::vector<QueueDepth> SqliteBroker::depths() {
  SqliteTransaction transaction(*database_, SqliteAccess::read);
  leases_.load();
  return view_.depths(micros(clock_.wall()));
}

std::vector<DeadJob> SqliteBroker::dead_letters(const std::string& queue, std::size_t limit) {
  SqliteTransaction transaction(*database_, SqliteAccess::read);
  return dead_letters_.list(queue, limit);
}

std::size_t SqliteBroker::replay(std::span<const std::string> ids) {
  std::size_t replayed = 0;
  {
    SqliteTransaction transaction(*database_, SqliteAccess::write);
    replayed = dead_letters_.replay(ids, clock_.wall());
    transaction.commit();
  }
  if (replayed > 0) jobs_bell_.ring();
  return replayed;
}

std::size_t SqliteBroker::purge(std::span<const std::string> ids) {
  SqliteTransaction transaction(*database_, SqliteAccess::write);
  const auto purged = dead_letters_.purge(ids);
  transaction.commit();
  return purged;
}

}  // namespace stem
