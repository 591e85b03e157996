#include "scheduler/schedule_line.hpp"

#include <spdlog/spdlog.h>

namespace stem {

void ScheduleLine::clear() {
  line_.clear();
  items_.clear();
  broken_ = 0;
}

void ScheduleLine::load(const std::string& name, const std::optional<StoreEntry>& entry,
                        const std::optional<StoreEntry>& run) {
  drop(name);
  if (!entry || entry->value.empty()) return;  // deleted, or just being so
  auto& item = *items_.emplace(name, Item{entry->value, {}, {}, false}).first;
  try {
    if (run && !run->value.empty()) item.second.run = schedule_run_from_wire(run->value);
    const auto known = schedule_entry_from_wire(entry->value);
    const auto slot = next_slot(known, item.second.run);
    line_up(item, slot ? std::optional(known.due(*slot)) : std::nullopt);
  } catch (const std::exception& error) {
    spdlog::error("schedule {} is left out: {}", name, error.what());
    item.second.broken = true;
    ++broken_;
  }
}

void ScheduleLine::line_up(Known& item, std::optional<WallTime> due) {
  if (item.second.due) line_.erase({*item.second.due, item.first});
  item.second.due = due;
  if (due) line_.emplace(*due, item.first);
}

void ScheduleLine::drop(const std::string& name) {
  const auto item = items_.find(name);
  if (item == items_.end()) return;
  line_up(*item, std::nullopt);
  broken_ -= item->second.broken;
  items_.erase(item);
}

std::optional<std::pair<WallTime, std::string_view>> ScheduleLine::first() const {
  return line_.empty() ? std::nullopt : std::optional(*line_.begin());
}

std::vector<ScheduleLine::Known*> ScheduleLine::due(WallTime now, std::size_t most) {
  std::vector<Known*> items;
  for (auto next = line_.begin(); next != line_.end() && next->first <= now && items.size() < most; ++next)
    items.push_back(&*items_.find(std::string(next->second)));
  return items;
}

std::pair<int, int> ScheduleLine::count_due(WallTime now, Duration overdue_after) const {
  constexpr int most = 100'000;
  int due = 0, overdue = 0;
  for (auto next = line_.begin(); next != line_.end() && next->first <= now && due < most; ++next) {
    ++due;
    overdue += now - next->first > overdue_after;
  }
  return {due, overdue};
}

}  // namespace stem
