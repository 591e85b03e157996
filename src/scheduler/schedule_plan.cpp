#include "scheduler/schedule_plan.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <stem/error.hpp>

#include "core/name.hpp"
#include "core/nearest.hpp"

namespace stem {
namespace {

std::string shown(const ScheduleEntry& entry, const Json& object, const std::string& key) {
  if (key == "schedule") return entry.schedule.text();
  const auto value = object.value(key, Json());
  if (value.is_null()) return key == "timezone" ? "UTC" : key == "queue" ? "the default" : "none";
  return value.is_string() ? value.get<std::string>()
                           : value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::vector<std::string> differences(const ScheduleEntry& before, const ScheduleEntry& after) {
  const auto old_object = to_json(before), new_object = to_json(after);
  std::set<std::string> keys;
  for (const auto& object : {old_object, new_object})
    for (const auto& [key, value] : object.items()) keys.insert(key);
  std::vector<std::string> lines;
  for (const auto& key : keys)
    if (old_object.value(key, Json()) != new_object.value(key, Json()))
      lines.push_back(key + ": " + shown(before, old_object, key) + " -> " + shown(after, new_object, key));
  return lines;
}

/// Whether the slots of `after` are others than those of `before`.
bool runs_differently(const ScheduleEntry& before, const ScheduleEntry& after) {
  return before.schedule.to_json() != after.schedule.to_json() || before.zone.name() != after.zone.name() ||
         before.run_once != after.run_once || (after.enabled && !before.enabled);
}

[[noreturn]] void unknown(ScheduleBook& book, const std::string& name) {
  const auto all = book.all();
  std::vector<std::string_view> names;
  for (const auto& booked : all) names.push_back(booked.name);
  const auto near = nearest(name, names);
  throw Error(Exit::usage, "there is no schedule '" + printable(name) + "'" +
                               (near.empty() ? "; `stem schedule list` shows them"
                                             : "; did you mean " + std::string(near) + "?"));
}

std::vector<std::string> unique(std::vector<std::string> names) {
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

}  // namespace

SchedulePlan plan_apply(ScheduleBook& book, const std::vector<FiledSchedule>& filed, WallTime now) {
  SchedulePlan plan;
  plan.edit.revision = book.revision();
  std::map<std::string, BookedSchedule> booked;
  // A few are looked up; for many, one pass over all is quicker.
  if (filed.size() > 100)
    for (auto& one : book.all()) booked.emplace(one.name, std::move(one));
  else
    for (const auto& one : filed)
      if (auto found = book.find(one.entry.name)) booked.emplace(one.entry.name, std::move(*found));

  for (const auto& one : filed) {
    auto entry = one.entry;
    entry.created_at = entry.updated_at = entry.since = now;
    PlannedChange change{.kind = PlannedChange::Kind::add, .name = entry.name, .lines = {}};
    const auto found = booked.find(entry.name);
    if (found != booked.end() && found->second.error.empty()) {
      const auto& before = found->second.entry;
      if (!one.says_enabled) entry.enabled = before.enabled;
      entry.created_at = before.created_at;
      if (!runs_differently(before, entry)) entry.since = before.since;
      change.lines = differences(before, entry);
      change.kind = change.lines.empty() ? PlannedChange::Kind::keep : PlannedChange::Kind::change;
    } else if (found != booked.end()) {
      change = {PlannedChange::Kind::change, entry.name, {"was not readable: " + found->second.error}};
    } else {
      change.lines = {entry.schedule.text() + (entry.zone.name() == "UTC" ? "" : " " + entry.zone.name()) +
                      ", task " + entry.task + (entry.enabled ? "" : ", disabled")};
    }
    if (change.kind != PlannedChange::Kind::keep) plan.edit.put.push_back(std::move(entry));
    plan.changes.push_back(std::move(change));
  }
  std::sort(plan.changes.begin(), plan.changes.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  return plan;
}

SchedulePlan plan_removal(ScheduleBook& book, const std::vector<std::string>& names) {
  SchedulePlan plan;
  plan.edit.revision = book.revision();
  for (const auto& name : unique(names)) {
    const auto found = book.find(name);
    if (!found) unknown(book, name);
    plan.changes.push_back({PlannedChange::Kind::remove, name, {}});
    if (found->error.empty())
      plan.changes.back().lines = {found->entry.schedule.text() + ", task " + found->entry.task};
    plan.edit.remove.push_back(name);
  }
  return plan;
}

SchedulePlan plan_enabling(ScheduleBook& book, const std::vector<std::string>& names, bool enabled,
                           WallTime now) {
  SchedulePlan plan;
  plan.edit.revision = book.revision();
  for (const auto& name : unique(names)) {
    const auto found = require_schedule(book, name);
    auto entry = found.entry;
    const bool over = enabled && entry.enabled && !next_slot(entry, found.run) && entry.next_slot(now);
    PlannedChange change{.kind = PlannedChange::Kind::keep, .name = name, .lines = {}};
    if (entry.enabled != enabled || over) {
      entry.enabled = enabled;
      entry.updated_at = now;
      if (enabled) entry.since = now;
      change.kind = PlannedChange::Kind::change;
      change.lines = {over      ? "has run, and will run once more"
                      : enabled ? "enabled: false -> true"
                                : "enabled: true -> false"};
      plan.edit.put.push_back(std::move(entry));
    }
    plan.changes.push_back(std::move(change));
  }
  return plan;
}

BookedSchedule require_schedule(ScheduleBook& book, const std::string& name) {
  auto found = book.find(name);
  if (!found) unknown(book, name);
  if (!found->error.empty())
    throw Error(Exit::data,
                "schedule '" + printable(name) + "': " + found->error + "; apply it anew, or delete it");
  return std::move(*found);
}

}  // namespace stem
