#include "storage/sqlite_view.hpp"

#include <algorithm>
#include <map>

#include "storage/instant.hpp"

namespace stem {
namespace {

constexpr std::int64_t last_lane = 9;

}  // namespace

SqliteView::SqliteView(SqliteDatabase& database, SqliteQueues& queues, SqliteLeases& leases,
                       SqliteFetcher& fetcher)
    : queues_(queues),
      leases_(leases),
      fetcher_(fetcher),
      by_id_(database, "SELECT key, wire, attempt, deliveries, due FROM job WHERE id = ?"),
      all_keys_(database, "SELECT key FROM job INDEXED BY job_id"),
      keys_(database, "SELECT key FROM job WHERE key BETWEEN ? AND ?"),
      since_(database, "SELECT since FROM job WHERE key = ?"),
      overdue_(database, "SELECT count(*), min(due) FROM job WHERE queue = ? AND due <= ?"),
      why_dead_(database, "SELECT reason FROM dead WHERE key = ?") {}

std::optional<JobView> SqliteView::find(const std::string& id, std::int64_t now) {
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

std::vector<QueueDepth> SqliteView::depths(std::int64_t now) {
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
      if (const auto head = fetcher_.first_free(start.value(), start.end_of_lane(), now))
        older(since_.number(*head).value_or(now));
    }
    depths.push_back(std::move(depth));
  }
  std::sort(depths.begin(), depths.end(), [](const auto& a, const auto& b) { return a.queue < b.queue; });
  return depths;
}

}  // namespace stem
