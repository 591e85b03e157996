#include "core/schedule_entry.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <stem/error.hpp>

#include "core/json_depth.hpp"
#include "core/name.hpp"
#include "core/nearest.hpp"

namespace stem {
namespace {

constexpr std::size_t longest_name = 90;

[[noreturn]] void refuse(const std::string& what) {
  throw Error(Exit::data, what);
}

std::string shown(const Json& value) {
  return printable(value.dump(-1, ' ', false, Json::error_handler_t::replace));
}

std::string text_of(const std::string& key, const Json& value) {
  if (!value.is_string()) refuse(key + " must be text, not " + shown(value));
  return value;
}

bool flag_of(const std::string& key, const Json& value) {
  if (!value.is_boolean()) refuse(key + " must be true or false, not " + shown(value));
  return value;
}

int whole_of(const std::string& key, const Json& value, int low, int high) {
  if (!value.is_number_integer() || value < low || value > high)
    refuse(key + " must be a whole number from " + std::to_string(low) + " to " + std::to_string(high) +
           ", not " + shown(value));
  return value;
}

Json object_of(const std::string& key, const Json& value) {
  if (!value.is_object()) refuse(key + " must be an object, not " + shown(value));
  if (too_deep(value)) refuse(key + " is nested too deeply");
  return value;
}

std::string name_of(const std::string& key, const Json& value) {
  auto name = text_of(key, value);
  if (!is_name(name))
    refuse(key + " '" + printable(name) +
           "' must be of A-Z a-z 0-9 _ . : - and start with a letter or a digit");
  return name;
}

WallTime time_of(const std::string& key, const Json& value) {
  try {
    return parse_time(text_of(key, value));
  } catch (const Error& error) {
    refuse(key + ": " + error.what());
  }
}

Duration length_of(const std::string& key, const Json& value) {
  try {
    return parse_duration(text_of(key, value));
  } catch (const Error& error) {
    refuse(key + ": " + error.what());
  }
}

using Read = void (*)(ScheduleEntry&, const std::string&, const Json&);
struct Key {
  const char* name;
  const char* alias;  // another spelling, or null
  Read read;
};

/// What people write.
const Key keys[] = {
    {"name", "id",
     [](ScheduleEntry& e, const std::string& key, const Json& v) {
       e.name = name_of(key, v);
       if (e.name.size() > longest_name)
         refuse(key + " is longer than " + std::to_string(longest_name) + " characters");
     }},
    {"task", "taskName",
     [](ScheduleEntry& e, const std::string& key, const Json& v) { e.task = name_of(key, v); }},
    {"queue", nullptr,
     [](ScheduleEntry& e, const std::string& key, const Json& v) { e.queue = name_of(key, v); }},
    {"schedule", "spec",
     [](ScheduleEntry& e, const std::string&, const Json& v) { e.schedule = Schedule::parse(v); }},
    {"timezone", nullptr,
     [](ScheduleEntry& e, const std::string& key, const Json& v) {
       e.zone = TimeZone::named(text_of(key, v));
     }},
    {"args", nullptr,
     [](ScheduleEntry& e, const std::string& key, const Json& v) { e.args = object_of(key, v); }},
    {"kwargs", nullptr,
     [](ScheduleEntry& e, const std::string& key, const Json& v) { e.meta["kwargs"] = object_of(key, v); }},
    {"meta", nullptr,
     [](ScheduleEntry& e, const std::string& key, const Json& v) { e.meta.update(object_of(key, v)); }},
    {"priority", nullptr,
     [](ScheduleEntry& e, const std::string& key, const Json& v) { e.priority = whole_of(key, v, 0, 9); }},
    {"maxRetries", nullptr,
     [](ScheduleEntry& e, const std::string& key, const Json& v) {
       e.max_retries = whole_of(key, v, 0, 1000000);
     }},
    {"enabled", nullptr,
     [](ScheduleEntry& e, const std::string& key, const Json& v) { e.enabled = flag_of(key, v); }},
    {"runOnce", nullptr,
     [](ScheduleEntry& e, const std::string& key, const Json& v) { e.run_once = flag_of(key, v); }},
    {"jitter", "jitterMs",
     [](ScheduleEntry& e, const std::string& key, const Json& v) {
       e.jitter = key == "jitter" ? length_of(key, v)
                                  : std::chrono::milliseconds{whole_of(key, v, 0, 2'000'000'000)};
     }},
    {"expireAt", nullptr,
     [](ScheduleEntry& e, const std::string& key, const Json& v) { e.expire_at = time_of(key, v); }},
};

/// What the book adds.
const Key kept[] = {
    {"since", nullptr,
     [](ScheduleEntry& e, const std::string& key, const Json& v) { e.since = time_of(key, v); }},
    {"createdAt", nullptr,
     [](ScheduleEntry& e, const std::string& key, const Json& v) { e.created_at = time_of(key, v); }},
    {"updatedAt", nullptr,
     [](ScheduleEntry& e, const std::string& key, const Json& v) { e.updated_at = time_of(key, v); }},
};

const Key* find(std::string_view name, bool stored) {
  for (const auto& key : keys)
    if (name == key.name || (key.alias && name == key.alias)) return &key;
  for (const auto& key : kept)
    if (stored && name == key.name) return &key;
  return nullptr;
}

ScheduleEntry read(const Json& object, bool stored, bool* says_enabled) {
  if (!object.is_object()) refuse("a schedule is an object, not " + shown(object));
  ScheduleEntry entry;
  std::vector<const Key*> seen, given;
  for (const auto& [name, value] : object.items()) {
    const auto* const key = find(name, stored);
    if (stored && name == "v") continue;
    if (key == nullptr) {
      std::vector<std::string_view> known;
      for (const auto& one : keys) known.emplace_back(one.name);
      const auto near = nearest(name, known);
      refuse("unknown key '" + printable(name) + "'" +
             (near.empty() ? "" : "; did you mean " + std::string(near) + "?"));
    }
    if (std::find(seen.begin(), seen.end(), key) != seen.end())
      refuse(std::string(key->name) + " is there twice, also as " + (key->alias ? key->alias : key->name));
    seen.push_back(key);
    if (value.is_null()) continue;  // as if it were not there
    key->read(entry, name, value);
    given.push_back(key);
    if (says_enabled && std::string_view(key->name) == "enabled") *says_enabled = true;
  }
  const auto need = [&](const char* name) {
    const auto is_it = [&](const Key* key) { return std::string_view(key->name) == name; };
    if (std::any_of(given.begin(), given.end(), is_it)) return;
    if (std::any_of(seen.begin(), seen.end(), is_it)) refuse(std::string(name) + " must not be null");
    refuse(std::string("the key '") + name + "' is missing");
  };
  need("name");
  need("task");
  need("schedule");
  return entry;
}

}  // namespace

std::optional<WallTime> ScheduleEntry::next_slot(WallTime after) const {
  const auto slot = schedule.next(std::max(after, since), zone, since);
  return slot && expire_at && *slot >= *expire_at ? std::nullopt : slot;
}

Envelope ScheduleEntry::job(WallTime slot, WallTime now, const std::string& default_queue,
                            int default_max_retries) const {
  Envelope job;
  job.id = slot_id(name, slot);
  job.name = task;
  job.args = args;
  job.headers = {{"scheduled-from", "beat"}, {"schedule-id", name}, {"schedule-slot", format_time(slot)}};
  job.enqueued_at = now;
  job.priority = priority;
  job.max_retries = max_retries.value_or(default_max_retries);
  job.queue = queue.empty() ? default_queue : queue;
  job.meta = meta;
  job.meta["stem.task"] = task;
  // As for a job whose producer asks by name: it wins over the task's own setting.
  if (max_retries) job.meta["stem.retryPolicy"] = {{"maxRetries", *max_retries}};
  return job;
}

ScheduleEntry schedule_entry_from(const Json& object, bool* says_enabled) {
  return read(object, false, says_enabled);
}

Json to_json(const ScheduleEntry& entry) {
  Json object{{"name", entry.name},
              {"task", entry.task},
              {"schedule", entry.schedule.to_json()},
              {"enabled", entry.enabled}};
  if (!entry.queue.empty()) object["queue"] = entry.queue;
  if (entry.zone.name() != "UTC") object["timezone"] = entry.zone.name();
  if (!entry.args.empty()) object["args"] = entry.args;
  if (!entry.meta.empty()) object["meta"] = entry.meta;
  if (entry.priority != 0) object["priority"] = entry.priority;
  if (entry.max_retries) object["maxRetries"] = *entry.max_retries;
  if (entry.run_once) object["runOnce"] = true;
  if (entry.jitter > Duration{}) object["jitter"] = format_duration(entry.jitter);
  if (entry.expire_at) object["expireAt"] = format_time(*entry.expire_at);
  return object;
}

std::string to_wire(const ScheduleEntry& entry) {
  auto object = to_json(entry);
  object["v"] = 1;
  object["since"] = format_time(entry.since);
  object["createdAt"] = format_time(entry.created_at);
  object["updatedAt"] = format_time(entry.updated_at);
  try {
    return object.dump();
  } catch (const Json::exception&) {
    refuse("schedule " + entry.name + ": args and meta must be UTF-8 text");
  }
}

ScheduleEntry schedule_entry_from_wire(std::string_view wire) {
  if (text_too_deep(wire)) refuse("the stored schedule is nested too deep");
  const auto object = Json::parse(wire, nullptr, false);
  if (object.is_discarded() || !object.is_object()) refuse("the stored schedule is not a JSON object");
  if (object.value("v", Json()) != 1)
    refuse("the stored schedule is of version " + shown(object.value("v", Json())) +
           "; this Stem reads version 1");
  return read(object, true, nullptr);
}

Json to_json(const ScheduleRun& run) {
  const auto time = [](const std::optional<WallTime>& at) { return at ? Json(format_time(*at)) : Json(); };
  return {{"since", time(run.since)},
          {"slot", time(run.slot)},
          {"lastRunAt", time(run.last_run)},
          {"lastSlot", time(run.last_slot)},
          {"driftMs", static_cast<double>(run.drift.count()) / 1000},
          {"runs", run.runs},
          {"misfires", run.misfires},
          {"error", run.error.empty() ? Json() : Json(run.error)}};
}

void ScheduleRun::begin(const ScheduleEntry& entry) {
  if (since == entry.since) return;
  since = entry.since;
  slot.reset();
  last_slot.reset();
}

std::string to_wire(const ScheduleRun& run) {
  auto object = to_json(run);
  object["v"] = 1;
  return object.dump(-1, ' ', false, Json::error_handler_t::replace);
}

ScheduleRun schedule_run_from_wire(std::string_view wire) {
  if (text_too_deep(wire)) refuse("what is stored of a schedule's runs is nested too deep");
  const auto object = Json::parse(wire, nullptr, false);
  if (object.is_discarded() || !object.is_object() || object.value("v", Json()) != 1)
    refuse("what is stored of a schedule's runs is not of version 1");
  const auto time = [&](const char* key) -> std::optional<WallTime> {
    const auto value = object.value(key, Json());
    return value.is_string() ? std::optional(parse_time(value.get<std::string>())) : std::nullopt;
  };
  try {
    ScheduleRun run;
    run.since = time("since");
    run.slot = time("slot");
    run.last_run = time("lastRunAt");
    run.last_slot = time("lastSlot");
    run.drift = Duration{std::llround(object.value("driftMs", 0.0) * 1000)};
    run.runs = object.value("runs", std::int64_t{0});
    run.misfires = object.value("misfires", std::int64_t{0});
    if (const auto error = object.value("error", Json()); error.is_string()) run.error = error;
    return run;
  } catch (const Json::exception&) {
    refuse("what is stored of a schedule's runs holds a value of the wrong kind");
  }
}

std::optional<WallTime> next_slot(const ScheduleEntry& entry, const ScheduleRun& run) {
  if (!entry.enabled) return std::nullopt;
  auto own = run;
  own.begin(entry);
  if (entry.run_once && own.last_slot) return std::nullopt;
  return entry.next_slot(own.slot.value_or(entry.since));
}

}  // namespace stem
