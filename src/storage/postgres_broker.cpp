#include "storage/postgres_broker.hpp"

#include <algorithm>

#include "storage/distinct.hpp"
#include "storage/instant.hpp"
#include "storage/postgres_channels.hpp"
#include "storage/postgres_ring.hpp"
#include "storage/postgres_settling.hpp"
#include "storage/postgres_statements.hpp"
#include "storage/postgres_store.hpp"
#include "storage/postgres_subscription.hpp"

namespace stem {
namespace {

constexpr std::int64_t promoted_at_once = 256;

/// What was leased, by priority, then by the order of queues, then by age.
std::vector<Delivery> deliveries_of(const PostgresRows& rows, const std::vector<std::string>& queues,
                                    std::int64_t token) {
  struct Place {
    std::int64_t lane, queue, place;
    int row;
    auto operator<=>(const Place&) const = default;
  };
  std::vector<Place> order;
  for (int row = 0; row < rows.count(); ++row) {
    const auto queue =
        queues.size() == 1 ? 0 : std::find(queues.begin(), queues.end(), rows.text(row, 2)) - queues.begin();
    order.push_back({rows.number(row, 6), queue, rows.number(row, 7), row});
  }
  std::sort(order.begin(), order.end());
  std::vector<Delivery> deliveries;
  for (const auto& [lane, queue, place, row] : order)
    deliveries.push_back({.receipt = {.job = rows.number(row, 0), .token = token},
                          .id = std::string(rows.text(row, 1)),
                          .queue = std::string(rows.text(row, 2)),
                          .wire = std::string(rows.text(row, 3)),
                          .attempt = static_cast<int>(rows.number(row, 4)),
                          .deliveries = static_cast<int>(rows.number(row, 5))});
  return deliveries;
}

}  // namespace

PostgresBroker::PostgresBroker(std::shared_ptr<PostgresClient> client, const Clock& clock)
    : client_(std::move(client)), clock_(clock), publisher_(client_) {}

ServerWatch& PostgresBroker::watch() const {
  std::call_once(watched_, [this] {
    watch_ =
        std::make_unique<ServerWatch>(postgres_subscription(client_->address(), client_->channel("jobs")));
  });
  return *watch_;
}

Wake PostgresBroker::clear_wake() {
  Wake wake;
  const bool sure =
      watch().clear([&](std::string_view text) { (text.empty() ? wake.jobs : wake.broadcasts) = true; });
  return sure ? wake : Wake{.jobs = true, .broadcasts = true};
}

bool PostgresBroker::keeps_records_of(const Store& store) const {
  const auto* const ours = dynamic_cast<const PostgresStore*>(&store);
  return ours != nullptr && ours->client().address().same_place(client_->address());
}

std::size_t PostgresBroker::publish(std::span<const Envelope> jobs) {
  return jobs.empty() ? 0 : *publisher_.publish(jobs, {}, {}, clock_.wall());
}

std::optional<std::size_t> PostgresBroker::publish_guarded(std::span<const Envelope> jobs,
                                                           const std::vector<StoreGuard>& guards,
                                                           const std::vector<StoreWrite>& records) {
  return publisher_.publish(jobs, guards, records, clock_.wall());
}

void PostgresBroker::broadcast(const std::string& channel, const Envelope& message, Duration ttl) {
  postgres_broadcast(*client_, channel, message, ttl, clock_.wall());
}

std::vector<Broadcast> PostgresBroker::listen(std::vector<Listening>& channels, std::size_t limit) {
  return postgres_listen(*client_, channels, limit, clock_.wall());
}

std::set<Receipt> PostgresBroker::look_at_open_ones() {
  std::vector<OpenExchange> open;
  {
    const std::lock_guard lock(mutex_);
    open = open_;
  }
  std::set<Receipt> done;
  for (const auto& one : open) {
    auto keys = PostgresArray::numbers(), tokens = PostgresArray::numbers();
    for (const auto& receipt : one.settled) {
      keys.add(receipt.job);
      tokens.add(receipt.token);
    }
    client_->run(postgres::end_session, PostgresParameters().add(one.session));
    const auto rows =
        client_->run({{postgres::count_held, PostgresParameters().add(keys).add(tokens)},
                      {postgres::release_token,
                       PostgresParameters().add(PostgresArray::texts(one.queues)).add(one.token)}},
                     {postgres_ring(*client_, "jobs")});
    // It was all or nothing. Where none is held any more, it was done, or all leases had been lost before:
    // then there is nothing to settle either.
    if (rows.at(0).number(0, 0) == 0) done.insert(one.settled.begin(), one.settled.end());
    const std::lock_guard lock(mutex_);
    std::erase_if(open_, [&](const auto& other) { return other.token == one.token; });
  }
  return done;
}

Exchange PostgresBroker::exchange(std::span<const Settlement> settled, const Demand& demand) {
  Exchange result;
  const auto queues = distinct(demand.queues);
  const bool fetching = demand.limit > 0 && !queues.empty();
  if (settled.empty() && !fetching) return result;
  auto seen = look_at_open_ones();
  const auto done_before = seen;
  const auto now = clock_.wall();
  const auto token = tokens_.next();

  // In the order of keys, so that two who are after the same jobs wait for each other in line.
  std::vector<const Settlement*> order;
  for (const auto& one : settled) {
    if (done_before.contains(one.receipt)) continue;
    if (one.receipt.token == 0 || !seen.insert(one.receipt).second)
      result.lost.push_back(one.receipt);
    else
      order.push_back(&one);
  }
  std::sort(order.begin(), order.end(),
            [](const auto* a, const auto* b) { return a->receipt.job < b->receipt.job; });
  std::vector<PostgresSettling> acknowledged, others;
  bool sooner = false, recorded = false;
  for (const auto* one : order) {
    const bool acknowledging = std::holds_alternative<Ack>(one->disposition);
    auto& batches = acknowledging ? acknowledged : others;
    if (batches.empty() || !batches.back().has_room_for(*one)) batches.emplace_back(acknowledging, now);
    batches.back().add(*one);
    sooner = sooner || std::holds_alternative<RetryAt>(one->disposition) ||
             std::holds_alternative<Release>(one->disposition);
    recorded = recorded || one->record;
  }
  std::vector<PostgresCall> calls;
  for (const auto* batches : {&acknowledged, &others})
    for (const auto& batch : *batches) calls.push_back(batch.call());
  const auto settling = calls.size();
  if (fetching) {
    const auto limit = static_cast<std::int64_t>(std::min<std::size_t>(demand.limit, INT32_MAX));
    calls.push_back({postgres::promote, PostgresParameters()
                                            .add(PostgresArray::texts(queues))
                                            .add(micros(now))
                                            .add(std::max(limit, promoted_at_once))});
    PostgresParameters parameters;
    if (queues.size() == 1)
      parameters.add(queues.front());
    else
      parameters.add(PostgresArray::texts(queues));
    parameters.add(micros(now)).add(limit).add(token).add(demand.lease.count()).add(demand.consumer);
    calls.push_back({queues.size() == 1 ? postgres::lease_of_one : postgres::lease_of_many, parameters});
  }
  if (calls.empty()) return result;
  std::vector<PostgresCall> afterwards;
  if (sooner) afterwards.push_back(postgres_ring(*client_, "jobs"));
  if (recorded) afterwards.push_back(postgres_ring(*client_, "records"));

  std::vector<PostgresRows> rows;
  client_->converse([&](PostgresConnection& connection) {
    try {
      rows = connection.run(calls, afterwards);
    } catch (const PostgresError& error) {
      if (error.is_open()) {
        OpenExchange open{.session = connection.session(),
                          .token = token,
                          .queues = fetching ? queues : std::vector<std::string>{},
                          .settled = {}};
        for (const auto* one : order) open.settled.push_back(one->receipt);
        const std::lock_guard lock(mutex_);
        open_.push_back(std::move(open));
      }
      throw;
    }
  });
  std::size_t next = 0;
  for (const auto* batches : {&acknowledged, &others})
    for (const auto& batch : *batches) batch.lost(rows.at(next++), result.lost);
  if (fetching) result.deliveries = deliveries_of(rows.at(settling + 1), queues, token);
  return result;
}

std::vector<Receipt> PostgresBroker::renew(std::span<const Receipt> leases, Duration lease) {
  std::vector<Receipt> lost, order;
  for (const auto& receipt : leases) (receipt.token == 0 ? lost : order).push_back(receipt);
  std::sort(order.begin(), order.end());
  order.erase(std::unique(order.begin(), order.end()), order.end());
  if (order.empty()) return lost;
  auto keys = PostgresArray::numbers(), tokens = PostgresArray::numbers();
  for (const auto& receipt : order) {
    keys.add(receipt.job);
    tokens.add(receipt.token);
  }
  const auto rows = client_->run(
      postgres::renew, PostgresParameters().add(keys).add(tokens).add(micros(clock_.wall() + lease)));
  std::vector<bool> held(order.size());
  for (const auto i : rows.numbers(0, 0)) held.at(static_cast<std::size_t>(i - 1)) = true;
  for (std::size_t i = 0; i < order.size(); ++i)
    if (!held[i]) lost.push_back(order[i]);
  return lost;
}

std::optional<WallTime> PostgresBroker::next_due(const std::vector<std::string>& queues) {
  const auto rows = client_->run(postgres::next_due, PostgresParameters().add(PostgresArray::texts(queues)));
  const auto next = rows.maybe(0, 0);
  return next ? std::optional(wall_time(*next)) : std::nullopt;
}

std::optional<JobView> PostgresBroker::find(const std::string& id) {
  const auto rows = client_->run(postgres::find, PostgresParameters().add(id));
  if (rows.count() == 0) return std::nullopt;
  const auto now = micros(clock_.wall());
  JobView view{.state = JobView::State::ready,
               .wire = std::string(rows.text(0, 0)),
               .attempt = static_cast<int>(rows.number(0, 1)),
               .deliveries = static_cast<int>(rows.number(0, 2)),
               .due = std::nullopt,
               .consumer = {},
               .reason = {}};
  const auto due = rows.maybe(0, 3);
  if (!rows.is_null(0, 6)) {
    view.state = JobView::State::dead;
    view.reason = rows.text(0, 7);
  } else if (const auto until = rows.number(0, 4); until > now) {
    view.state = JobView::State::leased;
    view.due = wall_time(until);
    view.consumer = rows.text(0, 5);
  } else if (due && *due > now) {
    view.state = JobView::State::delayed;
    view.due = wall_time(*due);
  }
  return view;
}

std::vector<QueueDepth> PostgresBroker::depths() {
  const auto all = client_->run(
      {{postgres::scan_freely}, {postgres::depths, PostgresParameters().add(micros(clock_.wall()))}});
  const auto& rows = all.at(1);
  std::vector<QueueDepth> depths;
  for (int row = 0; row < rows.count(); ++row) {
    depths.push_back({.queue = std::string(rows.text(row, 0)),
                      .ready = rows.number(row, 1),
                      .delayed = rows.number(row, 2),
                      .leased = rows.number(row, 3),
                      .dead = rows.number(row, 4),
                      .oldest_ready = std::nullopt});
    if (const auto since = rows.maybe(row, 5)) depths.back().oldest_ready = wall_time(*since);
  }
  return depths;
}

std::vector<DeadJob> PostgresBroker::dead_letters(const std::string& queue, std::size_t limit) {
  const auto most = static_cast<std::int64_t>(std::min<std::size_t>(limit, INT64_MAX));
  const auto rows = client_->run(postgres::dead_letters, PostgresParameters().add(queue).add(most));
  std::vector<DeadJob> found;
  for (int row = 0; row < rows.count(); ++row)
    found.push_back({.id = std::string(rows.text(row, 0)),
                     .queue = std::string(rows.text(row, 1)),
                     .wire = std::string(rows.text(row, 2)),
                     .attempt = static_cast<int>(rows.number(row, 3)),
                     .reason = std::string(rows.text(row, 4)),
                     .meta = Json::parse(rows.text(row, 5), nullptr, false),
                     .dead_at = wall_time(rows.number(row, 6))});
  return found;
}

std::size_t PostgresBroker::replay(std::span<const std::string> ids) {
  if (ids.empty()) return 0;
  const auto rows = client_->run(
      {{postgres::replay, PostgresParameters().add(PostgresArray::texts(ids)).add(micros(clock_.wall()))}},
      {postgres_ring_if_added(*client_)});
  return static_cast<std::size_t>(rows.at(0).number(0, 0));
}

std::size_t PostgresBroker::purge(std::span<const std::string> ids) {
  if (ids.empty()) return 0;
  return static_cast<std::size_t>(
      client_->run(postgres::purge, PostgresParameters().add(PostgresArray::texts(ids))).number(0, 0));
}

}  // namespace stem
