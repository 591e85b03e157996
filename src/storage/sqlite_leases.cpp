#include "storage/sqlite_leases.hpp"

#include <algorithm>

namespace stem {

SqliteLeases::SqliteLeases(SqliteDatabase& database)
    : select_(database, "SELECT first, last, token, until FROM lease ORDER BY first"),
      consumer_(database, "SELECT consumer FROM lease WHERE first = ?"),
      insert_(database, "INSERT INTO lease(first, last, token, until, consumer) VALUES(?, ?, ?, ?, ?)"),
      erase_(database, "DELETE FROM lease WHERE first = ?"),
      copy_(database,
            "INSERT INTO lease(first, last, token, until, consumer) "
            "SELECT ?2, last, token, until, consumer FROM lease WHERE first = ?1"),
      shorten_(database, "UPDATE lease SET last = ?2 WHERE first = ?1"),
      prolong_(database, "UPDATE lease SET until = ?2 WHERE first = ?1"),
      any_job_(database, "SELECT 1 FROM job WHERE key BETWEEN ? AND ? LIMIT 1"),
      highest_(database, "SELECT last FROM lease WHERE first BETWEEN ? AND ? ORDER BY first DESC LIMIT 1") {}

void SqliteLeases::load() {
  spans_.clear();
  for (auto rows = select_.query(); rows.next();)
    spans_.emplace_hint(spans_.end(), rows.integer(0),
                        Span{rows.integer(0), rows.integer(1), rows.integer(2), rows.integer(3)});
}

const SqliteLeases::Span* SqliteLeases::covering(std::int64_t key) const {
  auto next = spans_.upper_bound(key);
  if (next == spans_.begin()) return nullptr;
  const auto& span = std::prev(next)->second;
  return span.covers(key) ? &span : nullptr;
}

const SqliteLeases::Span* SqliteLeases::held(const Receipt& receipt) const {
  const auto* const span = covering(receipt.job);
  return span != nullptr && span->token == receipt.token ? span : nullptr;
}

const SqliteLeases::Span* SqliteLeases::after(std::int64_t key) const {
  const auto next = spans_.upper_bound(key);
  return next == spans_.end() ? nullptr : &next->second;
}

std::string SqliteLeases::consumer(std::int64_t first) {
  auto rows = consumer_.query(first);
  return rows.next() ? rows.text(0) : std::string();
}

std::int64_t SqliteLeases::highest(std::int64_t first, std::int64_t last) {
  return highest_.number(first, last).value_or(0);
}

void SqliteLeases::add(const Span& span, std::string_view consumer) {
  insert_.run(span.first, span.last, span.token, span.until, consumer);
  spans_.emplace(span.first, span);
}

void SqliteLeases::cut_before(std::int64_t key) {
  const auto* const span = covering(key);
  if (span == nullptr || span->first == key) return;
  copy_.run(span->first, key);
  shorten_.run(span->first, key - 1);
  auto tail = *span;
  tail.first = key;
  spans_.at(span->first).last = key - 1;
  spans_.emplace(key, tail);
}

void SqliteLeases::remove(std::int64_t first, std::int64_t last) {
  cut_before(first);
  cut_before(last + 1);
  for (auto span = spans_.lower_bound(first); span != spans_.end() && span->first <= last;) {
    erase_.run(span->first);
    span = spans_.erase(span);
  }
}

void SqliteLeases::prolong(std::int64_t first, std::int64_t last, std::int64_t until) {
  cut_before(first);
  cut_before(last + 1);
  for (auto span = spans_.lower_bound(first); span != spans_.end() && span->first <= last; ++span) {
    if (span->second.until >= until) continue;
    prolong_.run(span->first, until);
    span->second.until = until;
  }
}

void SqliteLeases::drop_empty(std::int64_t first, std::int64_t last) {
  for (auto span = spans_.lower_bound(first); span != spans_.end() && span->first <= last;) {
    if (any_job_.number(span->first, span->second.last)) {
      ++span;
      continue;
    }
    erase_.run(span->first);
    span = spans_.erase(span);
  }
}

}  // namespace stem
