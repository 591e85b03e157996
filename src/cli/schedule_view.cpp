#include "cli/schedule_view.hpp"

#include <cstdio>
#include <map>

#include "cli/node_view.hpp"
#include "cli/table.hpp"
#include "core/name.hpp"

namespace stem::cli {
namespace {

/// Seconds are enough.
std::string rounded(Duration length) {
  const auto whole = std::chrono::round<std::chrono::seconds>(length);
  return whole < std::chrono::seconds{10} ? std::to_string(whole.count()) + "s" : human_duration(whole);
}

std::string words_of(PlannedChange::Kind kind) {
  switch (kind) {
    case PlannedChange::Kind::add:
      return "added";
    case PlannedChange::Kind::change:
      return "changed";
    case PlannedChange::Kind::remove:
      return "removed";
    default:
      return "unchanged";
  }
}

}  // namespace

std::string in_words(WallTime time, WallTime now) {
  const auto length = time - now;
  if (length > std::chrono::milliseconds{500}) return "in " + rounded(length);
  if (length < -std::chrono::milliseconds{500}) return rounded(-length) + " ago";
  return "now";
}

std::string in_zone(WallTime time, const TimeZone& zone) {
  if (zone.name() == "UTC") return format_time(time);
  const auto offset = zone.at(time).offset;
  auto text = format_time(time + offset);
  text.pop_back();
  const auto minutes = std::chrono::abs(std::chrono::duration_cast<std::chrono::minutes>(offset)).count();
  char tail[16];
  std::snprintf(tail, sizeof tail, "%c%02d:%02d", offset.count() < 0 ? '-' : '+',
                static_cast<int>(minutes / 60), static_cast<int>(minutes % 60));
  return text + tail;
}

std::string state_of(const BookedSchedule& schedule) {
  if (!schedule.error.empty()) return "unreadable";
  if (!schedule.run.error.empty()) return "failing";
  if (!schedule.entry.enabled) return "off";
  if (next_slot(schedule.entry, schedule.run)) return "on";
  return schedule.run.runs > 0 ? "done" : "over";
}

std::string schedule_table(const std::vector<BookedSchedule>& schedules, WallTime now) {
  Table table({"NAME", "TASK", "QUEUE", "SCHEDULE", "NEXT RUN", "LAST RUN", "RUNS", "STATE"});
  for (const auto& schedule : schedules) {
    const auto& [name, entry, run, error] = schedule;
    if (!error.empty()) {
      table.add({name, "-", "-", "-", "-", "-", "-", "unreadable"});
      continue;
    }
    const auto next = next_slot(entry, run);
    table.add({name, entry.task, entry.queue.empty() ? "-" : entry.queue,
               printable(entry.schedule.text() + (entry.zone.name() == "UTC" ? "" : " " + entry.zone.name())),
               next ? in_words(entry.due(*next), now) : "-",
               run.last_run ? in_words(*run.last_run, now) : "-", std::to_string(run.runs),
               state_of(schedule)});
  }
  return table.text();
}

Json to_json(const BookedSchedule& schedule) {
  if (!schedule.error.empty())
    return {{"name", schedule.name}, {"state", "unreadable"}, {"error", schedule.error}};
  const auto next = next_slot(schedule.entry, schedule.run);
  auto object = stem::to_json(schedule.entry);
  auto status = stem::to_json(schedule.run);
  status["state"] = state_of(schedule);
  status["nextSlot"] = next ? Json(format_time(*next)) : Json();
  status["nextRunAt"] = next ? Json(format_time(schedule.entry.due(*next))) : Json();
  status["since"] = format_time(schedule.entry.since);
  status["createdAt"] = format_time(schedule.entry.created_at);
  status["updatedAt"] = format_time(schedule.entry.updated_at);
  object["status"] = std::move(status);
  return object;
}

std::string plan_summary(const SchedulePlan& plan) {
  std::map<PlannedChange::Kind, int> counts;
  for (const auto& change : plan.changes) ++counts[change.kind];
  std::string text;
  for (const auto& [kind, count] : counts)
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + words_of(kind);
  return text.empty() ? "no schedules" : text;
}

std::string plan_text(const SchedulePlan& plan) {
  std::string text;
  for (const auto& change : plan.changes) {
    if (change.kind == PlannedChange::Kind::keep) continue;
    const char sign = change.kind == PlannedChange::Kind::add      ? '+'
                      : change.kind == PlannedChange::Kind::remove ? '-'
                                                                   : '~';
    text += std::string(1, sign) + " " + change.name + "\n";
    for (const auto& line : change.lines) text += "    " + line + "\n";
  }
  return text;
}

Json to_json(const SchedulePlan& plan, bool applied) {
  Json object{{"added", Json::array()},
              {"changed", Json::array()},
              {"unchanged", Json::array()},
              {"removed", Json::array()},
              {"applied", applied}};
  for (const auto& change : plan.changes) object[words_of(change.kind)].push_back(change.name);
  return object;
}

}  // namespace stem::cli
