#include "storage/sqlite_settling.hpp"

#include <algorithm>
#include <set>

#include "storage/sqlite_key.hpp"

namespace stem {

SqliteSettling::SqliteSettling(SqliteDatabase& database, SqliteLeases& leases, SqliteJobs& jobs)
    : leases_(leases), jobs_(jobs), keys_(database, "SELECT key FROM job WHERE key BETWEEN ? AND ?") {}

bool SqliteSettling::settle(std::span<const Settlement> settled, WallTime now,
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

bool SqliteSettling::end(const Settlement& settlement, WallTime now) {
  struct Way {
    SqliteSettling& here;
    SqliteKey key;
    WallTime now;
    bool operator()(const Ack&) { return here.jobs_.remove(key.value(), key.value()); }
    bool operator()(const RetryAt& retry) { return here.jobs_.postpone(key, 1, retry.due, now); }
    bool operator()(const DeadLetter& dead) { return here.jobs_.bury(key, dead.reason, dead.meta, now); }
    bool operator()(const Release& release) {
      if (release.due > now) return here.jobs_.postpone(key, 0, release.due, now);
      if (!here.jobs_.put_back(key)) return false;
      here.leases_.remove(key.value(), key.value());
      return true;
    }
  };
  return std::visit(Way{*this, SqliteKey(settlement.receipt.job), now}, settlement.disposition);
}

std::vector<Receipt> SqliteSettling::renew(std::span<const Receipt> receipts, std::int64_t until) {
  std::vector<Receipt> lost;
  std::vector<Receipt> order(receipts.begin(), receipts.end());
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.job < b.job; });
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
  return lost;
}

}  // namespace stem
