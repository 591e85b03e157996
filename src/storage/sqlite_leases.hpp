#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "storage/broker.hpp"
#include "storage/sqlite_database.hpp"

namespace stem {

/// The leases of all workers, as spans of job keys: whoever leases a hundred jobs in a row writes one row,
/// not a hundred. A job in the ready zone is leased if a span that has not ended covers its key. Spans never
/// overlap, never cross lanes, and no job gets a key inside one; so a job leaves a span by being deleted or
/// moved to a new key, or by the span being cut. All calls inside a transaction; a write transaction but for
/// load() and the lookups.
class SqliteLeases {
 public:
  struct Span {
    std::int64_t first;
    std::int64_t last;
    std::int64_t token;
    std::int64_t until;  ///< microseconds since the epoch

    bool covers(std::int64_t key) const { return first <= key && key <= last; }
  };

  explicit SqliteLeases(SqliteDatabase& database);

  /// Reads all spans: once at the start of each transaction, for other processes change them too.
  void load();

  /// The span that covers `key`, ended or not.
  const Span* covering(std::int64_t key) const;
  /// The same if the receipt's holder still holds it.
  const Span* held(const Receipt& receipt) const;
  /// The first span that begins after `key`.
  const Span* after(std::int64_t key) const;
  /// All, in the order of keys.
  const std::map<std::int64_t, Span>& all() const { return spans_; }
  std::string consumer(std::int64_t first);

  void add(const Span& span, std::string_view consumer);
  /// Takes the keys from `first` to `last` out of whatever spans they are in.
  void remove(std::int64_t first, std::int64_t last);
  /// Makes the spans over exactly these keys end no earlier than `until`.
  void prolong(std::int64_t first, std::int64_t last, std::int64_t until);
  /// Forgets the spans beginning in [first, last] that cover no job any more.
  void drop_empty(std::int64_t first, std::int64_t last);
  /// The end of the last span that begins in [first, last]; 0 = there is none. Needs no load().
  std::int64_t highest(std::int64_t first, std::int64_t last);

 private:
  void cut_before(std::int64_t key);

  std::map<std::int64_t, Span> spans_;
  SqliteStatement select_, consumer_, insert_, erase_, copy_, shorten_, prolong_, any_job_, highest_;
};

}  // namespace stem
