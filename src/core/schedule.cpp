#include "core/schedule.hpp"
#include "core/json_depth.hpp"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <stem/error.hpp>

#include "core/name.hpp"
#include "core/nearest.hpp"

namespace stem {
namespace {

using namespace std::chrono;

constexpr Duration shortest_interval = milliseconds{100};

[[noreturn]] void refuse(const std::string& what) {
  throw Error(Exit::data, what);
}

template <class... Ways>
struct Overloaded : Ways... {
  using Ways::operator()...;
};
template <class... Ways>
Overloaded(Ways...) -> Overloaded<Ways...>;

std::string shown(const Json& value) {
  return printable(value.dump(-1, ' ', false, Json::error_handler_t::replace));
}

/// The object form while it is read: each key may be written `startAt` or `start_at`, and must be known.
class Keys {
 public:
  Keys(const Json& object, std::string kind, std::initializer_list<std::string_view> known)
      : kind_(std::move(kind)) {
    std::vector<std::string_view> all{"kind", "startAt", "endAt"};
    all.insert(all.end(), known);
    for (const auto& [written, value] : object.items()) {
      const auto key = camel(written);
      if (std::find(all.begin(), all.end(), key) == all.end()) {
        const auto near = nearest(key, all);
        refuse("schedule of kind " + kind_ + " has no key '" + printable(written) + "'" +
               (near.empty() ? "" : "; did you mean " + std::string(near) + "?"));
      }
      if (values_.contains(key)) refuse("schedule: key '" + key + "' is there twice");
      values_[key] = value;
    }
  }

  bool has(const std::string& key) const { return values_.contains(key) && !values_.at(key).is_null(); }
  const Json& need(const std::string& key) const {
    if (!has(key)) refuse("schedule of kind " + kind_ + " needs the key '" + key + "'");
    return values_.at(key);
  }
  std::string text(const std::string& key) const {
    const auto& value = need(key);
    if (!value.is_string()) refuse("schedule: " + key + " must be text, not " + shown(value));
    return value;
  }
  WallTime time(const std::string& key) const {
    try {
      return parse_time(text(key));
    } catch (const Error& error) {
      refuse("schedule: " + key + ": " + error.what());
    }
  }
  std::optional<WallTime> maybe_time(const std::string& key) const {
    return has(key) ? std::optional(time(key)) : std::nullopt;
  }
  Duration length(const std::string& key) const {
    auto written = text(key);
    const bool minus = written.starts_with('-');
    if (minus || written.starts_with('+')) written.erase(0, 1);
    try {
      const auto length = parse_duration(written);
      return minus ? -length : length;
    } catch (const Error& error) {
      refuse("schedule: " + key + ": " + error.what());
    }
  }
  double degrees(const std::string& key, double most) const {
    const auto& value = need(key);
    if (!value.is_number() || !(std::abs(value.get<double>()) <= most))
      refuse("schedule: " + key + " must be a number of degrees from -" +
             std::to_string(static_cast<int>(most)) + " to " + std::to_string(static_cast<int>(most)) +
             ", not " + shown(value));
    return value;
  }
  std::vector<int> numbers(const std::string& key) const {
    std::vector<int> list;
    if (!has(key)) return list;
    const auto& value = values_.at(key);
    const auto one = [&](const Json& number) {
      if (!number.is_number_integer() || number < -1000 || number > 1000)
        refuse("schedule: " + key + " must be a list of whole numbers, not " + shown(value));
      list.push_back(number);
    };
    if (value.is_array())
      for (const auto& number : value) one(number);
    else
      one(value);
    return list;
  }

 private:
  static std::string camel(const std::string& written) {
    std::string key;
    for (std::size_t i = 0; i < written.size(); ++i) {
      if (written[i] == '_' && i + 1 < written.size() && written[i + 1] >= 'a' && written[i + 1] <= 'z')
        key += static_cast<char>(written[++i] - 'a' + 'A');
      else
        key += written[i];
    }
    return key;
  }

  std::string kind_;
  std::map<std::string, Json> values_;
};

Interval interval(Duration every) {
  if (every < shortest_interval)
    refuse("schedule: an interval must be at least " + format_duration(shortest_interval));
  return {every};
}

ClockTimes cron(std::string line) {
  ClockTimes times;
  times.pattern = ClockPattern::cron(line);
  times.cron = std::move(line);
  return times;
}

std::uint64_t hash_of(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a: the same on every machine and in every version
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  // Neighbouring slots differ in few bits: mix them into all (the end of MurmurHash3).
  hash = (hash ^ hash >> 33) * 0xff51afd7ed558ccd;
  hash = (hash ^ hash >> 33) * 0xc4ceb9fe1a85ec53;
  return hash ^ hash >> 33;
}

}  // namespace

Schedule Schedule::parse_text(std::string_view text) {
  Schedule schedule;
  const auto begin = text.find_first_not_of(" \t");
  const auto trimmed = begin == std::string_view::npos ? std::string_view() : text.substr(begin);
  if (trimmed.empty()) refuse("a schedule is empty; write `every:30s` or a cron line such as `0 4 * * *`");
  if (trimmed.starts_with('{')) {
    if (text_too_deep(trimmed))
      refuse("a schedule is nested deeper than " + std::to_string(deepest_json) + " levels");
    const auto object = Json::parse(trimmed, nullptr, false);
    if (object.is_discarded()) refuse("schedule '" + printable(text) + "' is neither JSON nor a cron line");
    return parse(object);
  }
  if (trimmed.starts_with("every:")) {
    try {
      schedule.when_ = interval(parse_duration(trimmed.substr(6)));
    } catch (const Error& error) {
      refuse(std::string("every: ") + error.what());
    }
  } else {
    schedule.when_ = cron(std::string(trimmed));
  }
  return schedule;
}

Schedule Schedule::parse(const Json& spec) {
  if (spec.is_string()) return parse_text(spec.get<std::string>());
  if (!spec.is_object()) refuse("a schedule is text or an object, not " + shown(spec));
  if (!spec.contains("kind") || !spec.at("kind").is_string())
    refuse("a schedule's kind is missing; it is interval, cron, calendar, solar or clocked");
  const std::string kind = spec.at("kind");
  Schedule schedule;
  std::optional<Keys> keys;
  if (kind == "interval") {
    keys.emplace(spec, kind, std::initializer_list<std::string_view>{"every", "everyMs"});
    if (keys->has("everyMs") && keys->has("every")) refuse("schedule: every is there twice, also as everyMs");
    if (keys->has("everyMs")) {
      const auto& number = keys->need("everyMs");
      if (!number.is_number_integer() || number < 1 || number > 3'153'600'000'000)
        refuse("schedule: everyMs must be a whole number of milliseconds above 0, not " + shown(number));
      schedule.when_ = interval(milliseconds{number.get<std::int64_t>()});
    } else {
      schedule.when_ = interval(keys->length("every"));
    }
  } else if (kind == "cron") {
    keys.emplace(spec, kind,
                 std::initializer_list<std::string_view>{"expression", "secondField", "description"});
    auto line = keys->text("expression");
    if (keys->has("secondField")) line = keys->text("secondField") + " " + line;
    auto times = cron(line);
    if (keys->has("description")) times.description = keys->text("description");
    schedule.when_ = std::move(times);
  } else if (kind == "calendar") {
    keys.emplace(spec, kind,
                 std::initializer_list<std::string_view>{"months", "weekdays", "monthdays", "hours",
                                                         "minutes", "seconds"});
    ClockTimes times;
    times.form = ClockTimes::Form::calendar;
    times.lists = {keys->numbers("months"), keys->numbers("monthdays"), keys->numbers("weekdays"),
                   keys->numbers("hours"),  keys->numbers("minutes"),   keys->numbers("seconds")};
    times.pattern = ClockPattern::calendar(times.lists);
    schedule.when_ = times;
  } else if (kind == "solar") {
    keys.emplace(spec, kind,
                 std::initializer_list<std::string_view>{"event", "latitude", "longitude", "offset"});
    SolarTimes times{solar_event_from(keys->text("event")),
                     {keys->degrees("latitude", 90), keys->degrees("longitude", 180)},
                     {}};
    if (keys->has("offset")) times.offset = keys->length("offset");
    if (times.offset > hours{24} || times.offset < hours{-24})
      refuse("schedule: a solar offset is a day at the most");
    schedule.when_ = times;
  } else if (kind == "clocked") {
    keys.emplace(spec, kind, std::initializer_list<std::string_view>{"runAt"});
    schedule.when_ = Once{keys->time("runAt")};
  } else {
    const auto near = nearest(kind, {"interval", "cron", "calendar", "solar", "clocked"});
    refuse("unknown kind of schedule '" + printable(kind) + "'" +
           (near.empty() ? "; there are interval, cron, calendar, solar and clocked"
                         : "; did you mean " + std::string(near) + "?"));
  }
  schedule.start_at_ = keys->maybe_time("startAt");
  schedule.end_at_ = keys->maybe_time("endAt");
  if (schedule.start_at_ && schedule.end_at_ && *schedule.end_at_ <= *schedule.start_at_)
    refuse("schedule: endAt must be after startAt");
  return schedule;
}

Json Schedule::to_json() const {
  auto object = std::visit(Overloaded{
                               [](const Interval& one) {
                                 return Json{{"kind", "interval"}, {"every", format_duration(one.every)}};
                               },
                               [](const ClockTimes& one) {
                                 if (one.form == ClockTimes::Form::cron) {
                                   Json line{{"kind", "cron"}, {"expression", one.cron}};
                                   if (!one.description.empty()) line["description"] = one.description;
                                   return line;
                                 }
                                 Json object{{"kind", "calendar"}};
                                 const auto add = [&](const char* key, const std::vector<int>& list) {
                                   if (!list.empty()) object[key] = list;
                                 };
                                 add("months", one.lists.months);
                                 add("monthdays", one.lists.monthdays);
                                 add("weekdays", one.lists.weekdays);
                                 add("hours", one.lists.hours);
                                 add("minutes", one.lists.minutes);
                                 add("seconds", one.lists.seconds);
                                 return object;
                               },
                               [](const SolarTimes& one) {
                                 Json object{{"kind", "solar"},
                                             {"event", to_string(one.event)},
                                             {"latitude", one.place.latitude},
                                             {"longitude", one.place.longitude}};
                                 if (one.offset != Duration{}) object["offset"] = format_duration(one.offset);
                                 return object;
                               },
                               [](const Once& one) {
                                 return Json{{"kind", "clocked"}, {"runAt", format_time(one.at)}};
                               },
                           },
                           when_);
  if (start_at_) object["startAt"] = format_time(*start_at_);
  if (end_at_) object["endAt"] = format_time(*end_at_);
  return object;
}

std::string Schedule::text() const {
  auto line = std::visit(
      Overloaded{
          [](const Interval& one) { return "every " + format_duration(one.every); },
          [this](const ClockTimes& one) {
            if (one.form == ClockTimes::Form::cron) return one.cron;
            auto lists = to_json();
            for (const char* key : {"kind", "startAt", "endAt"}) lists.erase(key);
            return "calendar " + lists.dump();
          },
          [](const SolarTimes& one) {
            const auto at = "@" + Json(one.place.latitude).dump() + "," + Json(one.place.longitude).dump();
            const auto moved = one.offset == Duration{}  ? ""
                               : one.offset > Duration{} ? " +" + format_duration(one.offset)
                                                         : " " + format_duration(one.offset);
            return std::string(to_string(one.event)) + " " + at + moved;
          },
          [](const Once& one) { return "once " + format_time(one.at); },
      },
      when_);
  if (start_at_) line += " from " + format_time(*start_at_);
  if (end_at_) line += " until " + format_time(*end_at_);
  return line;
}

std::optional<WallTime> Schedule::next(WallTime after, const TimeZone& zone, WallTime origin) const {
  // The start itself may be a slot.
  if (start_at_) after = std::max(after, *start_at_ - Duration{1});
  const auto slot = next_of(after, zone, origin);
  return slot && end_at_ && *slot >= *end_at_ ? std::nullopt : slot;
}

std::optional<WallTime> Schedule::next_of(WallTime after, const TimeZone& zone, WallTime origin) const {
  return std::visit(
      Overloaded{
          [&](const Interval& one) -> std::optional<WallTime> {
            const auto first = start_at_ ? *start_at_ : origin + one.every;
            if (after < first) return first;
            return first + ((after - first) / one.every + 1) * one.every;
          },
          [&](const ClockTimes& one) { return next_in(zone, one.pattern, after); },
          [&](const SolarTimes& one) {
            auto slot = next_solar(one.event, one.place, after - one.offset);
            if (slot) *slot += one.offset;
            return slot;
          },
          [&](const Once& one) { return one.at > after ? std::optional(one.at) : std::nullopt; },
      },
      when_);
}

Duration jitter_of(std::string_view name, WallTime slot, Duration spread) {
  if (spread <= Duration{}) return {};
  const auto hash = hash_of(slot_id(name, slot));
  return Duration{static_cast<std::int64_t>(hash % static_cast<std::uint64_t>(spread.count() + 1))};
}

std::string slot_id(std::string_view name, WallTime slot) {
  return std::string(name) + "@" + format_time(slot);
}

}  // namespace stem
