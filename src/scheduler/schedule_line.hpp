#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/schedule_entry.hpp"
#include "storage/store.hpp"

namespace stem {

/// The schedules that are known, in the order in which they fall due. One thread.
class ScheduleLine {
 public:
  /// Its stored form is read again when it is due: few are at a time, and there may be very many.
  struct Item {
    std::string wire;
    ScheduleRun run;
    std::optional<WallTime> due;
    bool broken = false;  ///< cannot be read
  };
  using Known = std::unordered_map<std::string, Item>::value_type;

  void clear();
  /// Takes the place of what was known of it; what cannot be read is logged, and never due. Without an entry
  /// it was deleted.
  void load(const std::string& name, const std::optional<StoreEntry>& entry,
            const std::optional<StoreEntry>& run);
  void line_up(Known& item, std::optional<WallTime> due);

  std::size_t size() const { return items_.size(); }
  std::size_t broken() const { return broken_; }
  /// Of what is due first; empty if nothing ever is.
  std::optional<std::pair<WallTime, std::string_view>> first() const;
  bool is_due(WallTime now) const { return !line_.empty() && line_.begin()->first <= now; }
  /// The first of those that are due. They stay in the line.
  std::vector<Known*> due(WallTime now, std::size_t most);
  /// How many are due, and for how many of them that is longer than `overdue_after`; up to 100,000 are
  /// counted.
  std::pair<int, int> count_due(WallTime now, Duration overdue_after) const;

 private:
  void drop(const std::string& name);

  std::unordered_map<std::string, Item> items_;
  std::set<std::pair<WallTime, std::string_view>> line_;  // by when they are due
  std::size_t broken_ = 0;
};

}  // namespace stem
