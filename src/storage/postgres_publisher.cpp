#include "storage/postgres_publisher.hpp"

#include <random>
#include <thread>
#include <unordered_set>

#include "storage/instant.hpp"
#include "storage/postgres_ring.hpp"
#include "storage/postgres_statements.hpp"
#include "storage/postgres_store.hpp"

namespace stem {
namespace {

/// Jobs, each id once: the first of two is kept.
PostgresCall call_to_publish(std::span<const Envelope> jobs, WallTime now) {
  auto ids = PostgresArray::texts(), queues = PostgresArray::texts();
  PostgresArray wires(PostgresArray::Of::bytea);
  auto lanes = PostgresArray::numbers(), attempts = PostgresArray::numbers(), dues = PostgresArray::numbers(),
       leases = PostgresArray::numbers();
  std::unordered_set<std::string_view> seen;
  for (const auto& job : jobs) {
    if (job.priority < 0 || job.priority > 9)
      throw Error(Exit::usage, "priority must be 0 to 9, not " + std::to_string(job.priority));
    if (!seen.insert(job.id).second) continue;
    ids.add(job.id);
    queues.add(job.queue);
    lanes.add(std::int64_t{9 - job.priority});
    attempts.add(std::int64_t{job.attempt});
    dues.add(job.not_before && *job.not_before > now ? std::optional(micros(*job.not_before)) : std::nullopt);
    leases.add(job.visibility_timeout ? std::optional<std::int64_t>(job.visibility_timeout->count())
                                      : std::nullopt);
    wires.add(to_wire(job));
  }
  return {postgres::publish, PostgresParameters()
                                 .add(micros(now))
                                 .add(ids)
                                 .add(queues)
                                 .add(lanes)
                                 .add(attempts)
                                 .add(dues)
                                 .add(leases)
                                 .add(wires)};
}

}  // namespace

/// What is said to the server, and what it told.
struct PostgresPublisher::Attempt {
  std::vector<PostgresCall>
      guards;  ///< a transaction is begun with them; none = the calls are one of their own
  std::vector<PostgresCall> calls, afterwards;
  std::string session{};               ///< of the last connection
  std::optional<std::size_t> added{};  ///< empty: a guard did not hold
};

std::optional<std::size_t> PostgresPublisher::publish(std::span<const Envelope> jobs,
                                                      const std::vector<StoreGuard>& guards,
                                                      const std::vector<StoreWrite>& records, WallTime now) {
  Attempt attempt{
      .guards = {}, .calls = {call_to_publish(jobs, now)}, .afterwards = {postgres_ring_if_added(*client_)}};
  const auto slot = take();
  for (auto& call : calls_to_put(records, now)) attempt.calls.push_back(std::move(call));
  attempt.calls.push_back({postgres::mark, PostgresParameters().add(slot.slot).add(slot.number)});
  if (!guards.empty()) {
    attempt.guards = calls_to_guard(guards, now);
    attempt.calls.push_back({postgres::commit});
  }
  if (!records.empty()) attempt.afterwards.push_back(postgres_ring(*client_, "records"));
  try {
    make(attempt);
  } catch (const PostgresError& error) {
    if (!error.is_open()) throw;
    settle(attempt, slot, error);
  }
  give_back(slot);
  return attempt.added;
}

void PostgresPublisher::make(Attempt& attempt) {
  client_->converse([&](PostgresConnection& connection) {
    attempt.session = connection.session();
    attempt.added.reset();
    if (!attempt.guards.empty() && !hold(connection.run(attempt.guards)))
      connection.run({{postgres::rollback}});
    else
      attempt.added =
          static_cast<std::size_t>(connection.run(attempt.calls, attempt.afterwards).at(0).number(0, 0));
  });
}

/// The connection broke before the server told of the commit. To publish again what workers have done by now
/// would have it done twice, so the server is asked, for a while.
void PostgresPublisher::settle(Attempt& attempt, const Slot& slot, const PostgresError& first) {
  const auto deadline = std::chrono::steady_clock::now() + client_->address().timeout;
  std::minstd_rand random{std::random_device{}()};
  for (auto pause = std::chrono::milliseconds{20};;
       pause = std::min(pause * 2, std::chrono::milliseconds{500})) {
    try {
      client_->run(postgres::end_session, PostgresParameters().add(attempt.session));
      const auto mark =
          client_->run({{postgres::look_up_mark, PostgresParameters().add(slot.slot).add(slot.number)}},
                       {postgres_ring(*client_, "jobs"), postgres_ring(*client_, "records")});
      if (mark.at(0).count() == 0) return make(attempt);
      attempt.added = static_cast<std::size_t>(mark.at(0).number(0, 0));
      return;
    } catch (const PostgresError& error) {
      if (error.code() != Exit::unavailable && error.code() != Exit::try_again) throw;
    }
    if (std::chrono::steady_clock::now() + pause > deadline)
      throw Error(first.code(),
                  std::string(first.what()) + "; what was to be enqueued may have been, or not");
    std::this_thread::sleep_for(pause * std::uniform_real_distribution<>(0.5, 1.0)(random));
  }
}

PostgresPublisher::Slot PostgresPublisher::take() {
  const std::lock_guard lock(mutex_);
  if (free_.empty()) free_.push_back({.slot = slots_.next()});
  auto slot = free_.back();
  free_.pop_back();
  ++slot.number;
  return slot;
}

void PostgresPublisher::give_back(const Slot& slot) {
  const std::lock_guard lock(mutex_);
  free_.push_back(slot);
}

}  // namespace stem
