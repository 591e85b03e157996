#include "storage/sqlite_fetcher.hpp"

#include <algorithm>

#include "storage/instant.hpp"

namespace stem {
namespace {

constexpr std::int64_t promoted_at_once = 256;

}  // namespace

/// Where a fetch stands in one queue.
struct SqliteFetcher::Cursor {
  const SqliteQueues::Queue* queue;
  std::int64_t position;  // keys below were looked at
  std::int64_t end;
  std::optional<std::int64_t> head;  // the next job that may be leased
};

SqliteFetcher::SqliteFetcher(SqliteDatabase& database, SqliteQueues& queues, SqliteLeases& leases,
                             SqliteJobs& jobs)
    : queues_(queues),
      leases_(leases),
      jobs_(jobs),
      peek_(database, "SELECT key FROM job WHERE key BETWEEN ? AND ? ORDER BY key LIMIT 1"),
      take_(database,
            "SELECT key, id, wire, attempt, deliveries, lease FROM job WHERE key BETWEEN ? AND ? "
            "ORDER BY key LIMIT ?"),
      first_due_(database, "SELECT min(due) FROM job WHERE queue = ? AND due IS NOT NULL") {}

std::vector<SqliteFetcher::Cursor> SqliteFetcher::cursors(const Demand& demand, WallTime now) {
  std::vector<Cursor> cursors;
  for (const auto* queue : queues_.find(demand.queues)) {
    const SqliteKey start(SqliteKey::Zone::ready, queue->number, 0, 0);
    cursors.push_back({queue, start.value(), start.end_of_queue(), std::nullopt});
    look_ahead(cursors.back(), micros(now));
  }
  return cursors;
}

std::optional<std::int64_t> SqliteFetcher::first_free(std::int64_t first, std::int64_t last,
                                                      std::int64_t now) {
  Cursor cursor{nullptr, first, last, std::nullopt};
  look_ahead(cursor, now);
  return cursor.head;
}

void SqliteFetcher::look_ahead(Cursor& cursor, std::int64_t now) {
  for (;;) {
    cursor.head = peek_.number(cursor.position, cursor.end);
    if (!cursor.head) return;
    const auto* const span = leases_.covering(*cursor.head);
    if (span == nullptr || span->until <= now) return;
    cursor.position = span->last + 1;
  }
}

bool SqliteFetcher::anything_for(const Demand& demand, WallTime now) {
  for (const auto& cursor : cursors(demand, now)) {
    if (cursor.head) return true;
    const auto due = first_due_.number(cursor.queue->number);
    if (due && *due <= micros(now)) return true;
  }
  return false;
}

void SqliteFetcher::lease(const Demand& demand, WallTime now, std::vector<Delivery>& deliveries) {
  for (const auto* queue : queues_.find(demand.queues)) jobs_.promote(queue->number, promoted_at_once, now);
  const auto token = tokens_.next();
  auto all = cursors(demand, now);
  while (deliveries.size() < demand.limit) {
    // The best lane first; in the same lane the queue that was named first.
    Cursor* best = nullptr;
    for (auto& cursor : all)
      if (cursor.head && (best == nullptr || SqliteKey(*cursor.head).lane() < SqliteKey(*best->head).lane()))
        best = &cursor;
    if (best == nullptr) return;
    take(*best, token, demand, now, deliveries);
    if (deliveries.size() < demand.limit) look_ahead(*best, micros(now));
  }
}

void SqliteFetcher::take(Cursor& cursor, std::int64_t token, const Demand& demand, WallTime now,
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
      spans.push_back({.first = key, .last = key, .token = token, .until = until});
    spans.back().last = key;
    deliveries.push_back({.receipt = {.job = key, .token = token},
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

}  // namespace stem
