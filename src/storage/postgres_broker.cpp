#include "storage/postgres_broker.hpp"

#include <algorithm>
#include <charconv>
#include <random>
#include <thread>
#include <unordered_set>

#include "storage/postgres_statements.hpp"
#include "storage/postgres_store.hpp"
#include "storage/postgres_subscription.hpp"

namespace stem {
namespace {

constexpr std::int64_t promoted_at_once = 256;

std::int64_t micros(WallTime time) { return time.time_since_epoch().count(); }
WallTime wall_time(std::int64_t micros) { return WallTime(Duration(micros)); }

/// Tokens count up from a random start, so that no two processes ever use the same one.
std::int64_t random_start() {
  std::random_device device;
  return static_cast<std::int64_t>(std::uniform_int_distribution<std::int64_t>(1, std::int64_t{1} << 61)(device));
}

std::vector<std::string> distinct(const std::vector<std::string>& queues) {
  std::vector<std::string> once;
  for (const auto& queue : queues)
    if (std::find(once.begin(), once.end(), queue) == once.end()) once.push_back(queue);
  return once;
}

PostgresArray texts(std::span<const std::string> values) {
  PostgresArray array(PostgresArray::Of::text);
  for (const auto& value : values) array.add(value);
  return array;
}

PostgresArray numbers() { return PostgresArray(PostgresArray::Of::bigint); }

/// Jobs, each id once: the first of two is kept.
PostgresCall call_to_publish(std::span<const Envelope> jobs, WallTime now) {
  PostgresArray ids(PostgresArray::Of::text), queues(PostgresArray::Of::text), wires(PostgresArray::Of::bytea);
  auto lanes = numbers(), attempts = numbers(), dues = numbers(), leases = numbers();
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
    leases.add(job.visibility_timeout ? std::optional<std::int64_t>(job.visibility_timeout->count()) : std::nullopt);
    wires.add(to_wire(job));
  }
  return {postgres::publish,
          PostgresParameters().add(micros(now)).add(ids).add(queues).add(lanes).add(attempts).add(dues).add(leases).add(wires)};
}

/// Settlements of one kind of statement: acknowledgements are deletions, all others are updates.
class Settling {
 public:
  Settling(bool acknowledging, WallTime now) : acknowledging_(acknowledging), now_(now) {}

  /// Whether it may go into the same statement: that cannot write a record twice.
  bool has_room_for(const Settlement& one) const {
    return receipts_.size() < postgres::most_entries && !(one.record && records_.contains(one.record->key));
  }
  void add(const Settlement& one) {
    receipts_.push_back(one.receipt);
    keys_.add(one.receipt.job);
    tokens_.add(one.receipt.token);
    if (one.record) {
      records_.insert(one.record->key);
      record_keys_.add(one.record->key);
      record_values_.add(one.record->value);
      record_ends_.add(one.record->ttl == Duration{} ? std::nullopt : std::optional(micros(now_ + one.record->ttl)));
    } else {
      record_keys_.add_null();
      record_values_.add_null();
      record_ends_.add_null();
    }
    if (acknowledging_) return;
    std::optional<std::int64_t> due;
    std::optional<std::string> reason, meta;
    const char* kind = "D";
    if (const auto* retry = std::get_if<RetryAt>(&one.disposition)) {
      kind = "R";
      due = micros(retry->due);
    } else if (const auto* release = std::get_if<Release>(&one.disposition)) {
      kind = "P";
      due = micros(release->due);
    } else if (const auto* letter = std::get_if<DeadLetter>(&one.disposition)) {
      reason = letter->reason;
      meta = letter->meta.dump(-1, ' ', false, Json::error_handler_t::replace);
    }
    kinds_.add(std::string_view(kind));
    dues_.add(due);
    reasons_.add(reason);
    metas_.add(meta);
  }
  PostgresCall call() const {
    PostgresParameters parameters;
    if (!acknowledging_) parameters.add(micros(now_));
    parameters.add(keys_).add(tokens_);
    if (!acknowledging_) parameters.add(kinds_).add(dues_).add(reasons_).add(metas_);
    return {acknowledging_ ? postgres::acknowledge : postgres::settle, parameters.add(record_keys_).add(record_values_).add(record_ends_)};
  }
  bool writes_records() const { return !records_.empty(); }
  /// Appends those that the statement did not find, by what it tells.
  void lost(const PostgresRows& rows, std::vector<Receipt>& lost) const {
    std::vector<bool> held(receipts_.size());
    for (const auto i : rows.numbers(0, 0)) held.at(static_cast<std::size_t>(i - 1)) = true;
    for (std::size_t i = 0; i < receipts_.size(); ++i)
      if (!held[i]) lost.push_back(receipts_[i]);
  }

 private:
  const bool acknowledging_;
  const WallTime now_;
  std::vector<Receipt> receipts_;
  std::unordered_set<std::string> records_;
  PostgresArray keys_ = numbers(), tokens_ = numbers(), dues_ = numbers(), record_ends_ = numbers();
  PostgresArray kinds_{PostgresArray::Of::text}, record_keys_{PostgresArray::Of::text};
  PostgresArray reasons_{PostgresArray::Of::bytea}, metas_{PostgresArray::Of::bytea}, record_values_{PostgresArray::Of::bytea};
};

/// What was leased, by priority, then by the order of queues, then by age.
std::vector<Delivery> deliveries_of(const PostgresRows& rows, const std::vector<std::string>& queues, std::int64_t token) {
  struct Place {
    std::int64_t lane, queue, place;
    int row;
    auto operator<=>(const Place&) const = default;
  };
  std::vector<Place> order;
  for (int row = 0; row < rows.count(); ++row) {
    const auto queue = queues.size() == 1 ? 0 : std::find(queues.begin(), queues.end(), rows.text(row, 2)) - queues.begin();
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
    : client_(std::move(client)), clock_(clock), token_(random_start()) {}

ServerWatch& PostgresBroker::watch() const {
  std::call_once(watched_, [this] { watch_ = std::make_unique<ServerWatch>(postgres_subscription(client_->address(), client_->channel("jobs"))); });
  return *watch_;
}

Wake PostgresBroker::clear_wake() {
  Wake wake;
  const bool sure = watch().clear([&](std::string_view text) { (text.empty() ? wake.jobs : wake.broadcasts) = true; });
  return sure ? wake : Wake{.jobs = true, .broadcasts = true};
}

bool PostgresBroker::keeps_records_of(const Store& store) const {
  const auto* const ours = dynamic_cast<const PostgresStore*>(&store);
  return ours != nullptr && ours->client().address().same_place(client_->address());
}

PostgresCall PostgresBroker::ring_if_added() const {
  return {postgres::notify_if_added, PostgresParameters().add(client_->channel("jobs"))};
}

PostgresCall PostgresBroker::ring(const std::string& channel) const {
  return {postgres::notify, PostgresParameters().add(client_->channel(channel))};
}

std::size_t PostgresBroker::publish(std::span<const Envelope> jobs) {
  if (jobs.empty()) return 0;
  Slot slot;
  {
    const std::lock_guard lock(mutex_);
    if (free_slots_.empty()) free_slots_.push_back({.slot = ++token_});
    slot = free_slots_.back();
    free_slots_.pop_back();
  }
  ++slot.number;
  const std::vector<PostgresCall> calls{call_to_publish(jobs, clock_.wall()),
                                        {postgres::mark, PostgresParameters().add(slot.slot).add(slot.number)}};
  std::size_t added = 0;
  std::string session;
  try {
    client_->converse([&](PostgresConnection& connection) {
      session = connection.session();
      added = static_cast<std::size_t>(connection.run(calls, {ring_if_added()}).at(0).number(0, 0));
    });
  } catch (const PostgresError& error) {
    if (!error.is_open()) throw;
    added = publish_open(calls, slot, error, std::move(session));
  }
  const std::lock_guard lock(mutex_);
  free_slots_.push_back(slot);
  return added;
}

/// The connection broke before the server told of the commit. To publish again what workers have done by now would have
/// it done twice, so the server is asked, for a while.
std::size_t PostgresBroker::publish_open(const std::vector<PostgresCall>& calls, const Slot& slot, const PostgresError& first, std::string session) {
  const auto deadline = std::chrono::steady_clock::now() + client_->address().timeout;
  std::minstd_rand random{std::random_device{}()};
  for (auto pause = std::chrono::milliseconds{20};; pause = std::min(pause * 2, std::chrono::milliseconds{500})) {
    try {
      client_->run(postgres::end_session, PostgresParameters().add(session));
      const auto mark = client_->run({{postgres::look_up_mark, PostgresParameters().add(slot.slot).add(slot.number)}}, {ring("jobs")});
      if (mark.at(0).count() > 0) return static_cast<std::size_t>(mark.at(0).number(0, 0));
      std::size_t added = 0;
      client_->converse([&](PostgresConnection& connection) {
        session = connection.session();
        added = static_cast<std::size_t>(connection.run(calls, {ring_if_added()}).at(0).number(0, 0));
      });
      return added;
    } catch (const PostgresError& error) {
      if (error.code() != Exit::unavailable && error.code() != Exit::try_again) throw;
    }
    if (std::chrono::steady_clock::now() + pause > deadline)
      throw Error(first.code(), std::string(first.what()) + "; what was to be enqueued may have been, or not");
    std::this_thread::sleep_for(pause * std::uniform_real_distribution<>(0.5, 1.0)(random));
  }
}

std::optional<std::size_t> PostgresBroker::publish_guarded(std::span<const Envelope> jobs, const std::vector<StoreGuard>& guards,
                                                           const std::vector<StoreWrite>& records) {
  const auto now = clock_.wall();
  std::vector<PostgresCall> calls{call_to_publish(jobs, now)};
  for (auto& call : calls_to_put(records, now)) calls.push_back(std::move(call));
  calls.push_back({postgres::commit});
  std::vector<PostgresCall> afterwards{ring_if_added()};
  if (!records.empty()) afterwards.push_back(ring("records"));
  std::optional<std::size_t> added;
  client_->converse([&](PostgresConnection& connection) {
    added.reset();
    if (!hold(connection.run(calls_to_guard(guards, now))))
      connection.run({{postgres::rollback}});
    else
      added = static_cast<std::size_t>(connection.run(calls, afterwards).at(0).number(0, 0));
  });
  return added;
}

std::set<Receipt> PostgresBroker::look_at_open_ones() {
  std::vector<OpenExchange> open;
  {
    const std::lock_guard lock(mutex_);
    open = open_;
  }
  std::set<Receipt> done;
  for (const auto& one : open) {
    auto keys = numbers(), tokens = numbers();
    for (const auto& receipt : one.settled) {
      keys.add(receipt.job);
      tokens.add(receipt.token);
    }
    client_->run(postgres::end_session, PostgresParameters().add(one.session));
    const auto rows = client_->run({{postgres::count_held, PostgresParameters().add(keys).add(tokens)},
                                    {postgres::release_token, PostgresParameters().add(texts(one.queues)).add(one.token)}},
                                   {ring("jobs")});
    // It was all or nothing. Where none is held any more, it was done, or all leases had been lost before: then there
    // is nothing to settle either.
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
  std::int64_t token = 0;
  {
    const std::lock_guard lock(mutex_);
    token = ++token_;
  }

  // In the order of keys, so that two who are after the same jobs wait for each other in line.
  std::vector<const Settlement*> order;
  for (const auto& one : settled) {
    if (done_before.contains(one.receipt)) continue;
    if (one.receipt.token == 0 || !seen.insert(one.receipt).second)
      result.lost.push_back(one.receipt);
    else
      order.push_back(&one);
  }
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->receipt.job < b->receipt.job; });
  std::vector<Settling> acknowledged, others;
  bool sooner = false, recorded = false;
  for (const auto* one : order) {
    const bool acknowledging = std::holds_alternative<Ack>(one->disposition);
    auto& batches = acknowledging ? acknowledged : others;
    if (batches.empty() || !batches.back().has_room_for(*one)) batches.emplace_back(acknowledging, now);
    batches.back().add(*one);
    sooner = sooner || std::holds_alternative<RetryAt>(one->disposition) || std::holds_alternative<Release>(one->disposition);
    recorded = recorded || one->record;
  }
  std::vector<PostgresCall> calls;
  for (const auto* batches : {&acknowledged, &others})
    for (const auto& batch : *batches) calls.push_back(batch.call());
  const auto settling = calls.size();
  if (fetching) {
    const auto limit = static_cast<std::int64_t>(std::min<std::size_t>(demand.limit, INT32_MAX));
    calls.push_back({postgres::promote, PostgresParameters().add(texts(queues)).add(micros(now)).add(std::max(limit, promoted_at_once))});
    PostgresParameters parameters;
    if (queues.size() == 1) parameters.add(queues.front());
    else parameters.add(texts(queues));
    parameters.add(micros(now)).add(limit).add(token).add(demand.lease.count()).add(demand.consumer);
    calls.push_back({queues.size() == 1 ? postgres::lease_of_one : postgres::lease_of_many, parameters});
  }
  if (calls.empty()) return result;
  std::vector<PostgresCall> afterwards;
  if (sooner) afterwards.push_back(ring("jobs"));
  if (recorded) afterwards.push_back(ring("records"));

  std::vector<PostgresRows> rows;
  client_->converse([&](PostgresConnection& connection) {
    try {
      rows = connection.run(calls, afterwards);
    } catch (const PostgresError& error) {
      if (error.is_open()) {
        OpenExchange open{.session = connection.session(), .token = token, .queues = fetching ? queues : std::vector<std::string>{}, .settled = {}};
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
  auto keys = numbers(), tokens = numbers();
  for (const auto& receipt : order) {
    keys.add(receipt.job);
    tokens.add(receipt.token);
  }
  const auto rows = client_->run(postgres::renew, PostgresParameters().add(keys).add(tokens).add(micros(clock_.wall() + lease)));
  std::vector<bool> held(order.size());
  for (const auto i : rows.numbers(0, 0)) held.at(static_cast<std::size_t>(i - 1)) = true;
  for (std::size_t i = 0; i < order.size(); ++i)
    if (!held[i]) lost.push_back(order[i]);
  return lost;
}

std::optional<WallTime> PostgresBroker::next_due(const std::vector<std::string>& queues) {
  const auto rows = client_->run(postgres::next_due, PostgresParameters().add(texts(queues)));
  const auto next = rows.maybe(0, 0);
  return next ? std::optional(wall_time(*next)) : std::nullopt;
}

void PostgresBroker::broadcast(const std::string& channel, const Envelope& message, Duration ttl) {
  const auto now = clock_.wall();
  client_->run({{postgres::sweep_messages, PostgresParameters().add(micros(now))},
                {postgres::say, PostgresParameters().add(channel).add(micros(now + ttl)).add(to_wire(message))}},
               {{postgres::notify_broadcast, PostgresParameters().add(client_->channel("jobs"))}});
}

std::vector<Broadcast> PostgresBroker::listen(std::vector<Listening>& channels, std::size_t limit) {
  std::vector<Broadcast> heard;
  if (channels.empty()) return heard;
  const auto now = micros(clock_.wall());
  const auto most = static_cast<std::int64_t>(std::min<std::size_t>(limit, INT32_MAX));
  std::vector<PostgresCall> calls;
  for (const auto& [channel, position] : channels) {
    if (position.empty()) {
      calls.push_back({postgres::end_of_messages});
      continue;
    }
    std::int64_t number = 0;
    std::from_chars(position.data(), position.data() + position.size(), number);
    calls.push_back({postgres::hear, PostgresParameters().add(channel).add(number).add(now).add(most)});
  }
  const auto all = client_->run(calls);
  for (std::size_t i = 0; i < channels.size(); ++i) {
    auto& [channel, position] = channels[i];
    const auto& rows = all[i];
    if (&calls[i].statement == &postgres::hear)
      for (int row = 0; row < rows.count(); ++row) heard.push_back({channel, std::string(rows.text(row, 1))});
    if (rows.count() > 0) position = std::to_string(rows.number(rows.count() - 1, 0));
  }
  return heard;
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
  const auto all = client_->run({{postgres::scan_freely}, {postgres::depths, PostgresParameters().add(micros(clock_.wall()))}});
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
  const auto rows = client_->run({{postgres::replay, PostgresParameters().add(texts(ids)).add(micros(clock_.wall()))}},
                                 {ring_if_added()});
  return static_cast<std::size_t>(rows.at(0).number(0, 0));
}

std::size_t PostgresBroker::purge(std::span<const std::string> ids) {
  if (ids.empty()) return 0;
  return static_cast<std::size_t>(client_->run(postgres::purge, PostgresParameters().add(texts(ids))).number(0, 0));
}

}  // namespace stem
