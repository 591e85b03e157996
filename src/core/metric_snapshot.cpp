#include "core/metric_snapshot.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stem/error.hpp>

namespace stem {
namespace {

using Type = MetricFamily::Type;

/// Instants are the only figures whose sum nobody wants: they are told as times.
bool is_instant(const MetricFamily& family) {
  return family.unit == "s" && family.name.ends_with("_time");
}

Json tags_of(const MetricPoint& point) {
  auto tags = Json::object();
  for (const auto& [name, value] : point.labels) tags[name] = value;
  return tags;
}

/// Whole numbers are written as such.
Json number(double value) {
  if (!std::isfinite(value)) return nullptr;
  if (value == std::floor(value) && std::abs(value) < 9e15) return static_cast<std::int64_t>(value);
  return value;
}

std::string text_in(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string())
    throw Error(Exit::data, std::string("a metric without a ") + key);
  return found->get<std::string>();
}

double number_in(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number())
    throw Error(Exit::data, std::string("a metric without a ") + key);
  return found->get<double>();
}

Type type_from(const std::string& word) {
  for (const auto type : {Type::counter, Type::gauge, Type::histogram})
    if (word == to_string(type)) return type;
  throw Error(Exit::data, "a metric of no known type");
}

const Json& list_in(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_array())
    throw Error(Exit::data, std::string("metrics without ") + key);
  return *found;
}

MetricPoint point_from(const Json& wire, Type type) {
  if (!wire.is_object()) throw Error(Exit::data, "a metric that is no object");
  MetricPoint point;
  for (const auto& label : list_in(wire, "labels")) {
    if (!label.is_array() || label.size() != 2 || !label[0].is_string() || !label[1].is_string())
      throw Error(Exit::data, "a metric with a label that is no pair of texts");
    point.labels.emplace_back(label[0].get<std::string>(), label[1].get<std::string>());
  }
  if (type != Type::histogram) {
    point.value = number_in(wire, "value");
    return point;
  }
  auto& spread = point.spread;
  for (const auto& bound : list_in(wire, "bounds")) {
    if (!bound.is_number() || (!spread.bounds.empty() && bound.get<double>() <= spread.bounds.back()))
      throw Error(Exit::data, "a histogram whose bounds do not ascend");
    spread.bounds.push_back(bound.get<double>());
  }
  for (const auto& count : list_in(wire, "counts")) {
    if (!count.is_number_unsigned()) throw Error(Exit::data, "a histogram with a count that is no number");
    spread.counts.push_back(count.get<std::uint64_t>());
  }
  if (spread.counts.size() != spread.bounds.size() + 1)
    throw Error(Exit::data, "a histogram that lacks counts");
  spread.count = std::accumulate(spread.counts.begin(), spread.counts.end(), std::uint64_t{0});
  spread.sum = number_in(wire, "sum");
  spread.min = number_in(wire, "min");
  spread.max = number_in(wire, "max");
  return point;
}

}  // namespace

MetricFamily& MetricSnapshot::family(std::string name, Type type, std::string unit, std::string help) {
  for (auto& one : families)
    if (one.name == name) return one;
  return families.emplace_back(MetricFamily{std::move(name), type, std::move(unit), std::move(help), {}});
}

void MetricSnapshot::counter(std::string name, std::string help, Labels labels, std::uint64_t value) {
  family(std::move(name), Type::counter, "", std::move(help))
      .points.push_back({std::move(labels), static_cast<double>(value), {}});
}

void MetricSnapshot::gauge(std::string name, std::string unit, std::string help, Labels labels,
                           double value) {
  family(std::move(name), Type::gauge, std::move(unit), std::move(help))
      .points.push_back({std::move(labels), value, {}});
}

const MetricFamily* MetricSnapshot::find(std::string_view name) const {
  const auto found =
      std::find_if(families.begin(), families.end(), [&](const auto& one) { return one.name == name; });
  return found == families.end() ? nullptr : &*found;
}

const MetricPoint* MetricSnapshot::find(std::string_view name, const Labels& labels) const {
  const auto* family = find(name);
  if (!family) return nullptr;
  const auto found = std::find_if(family->points.begin(), family->points.end(),
                                  [&](const auto& one) { return one.labels == labels; });
  return found == family->points.end() ? nullptr : &*found;
}

const char* to_string(Type type) {
  return type == Type::counter ? "counter" : type == Type::gauge ? "gauge" : "histogram";
}

Json to_wire(const MetricSnapshot& snapshot) {
  auto families = Json::array();
  for (const auto& family : snapshot.families) {
    auto points = Json::array();
    for (const auto& point : family.points) {
      auto labels = Json::array();
      for (const auto& [name, value] : point.labels) labels.push_back({name, value});
      Json told{{"labels", std::move(labels)}};
      if (family.type == Type::histogram) {
        const auto& spread = point.spread;
        told.update({{"bounds", spread.bounds},
                     {"counts", spread.counts},
                     {"sum", spread.sum},
                     {"min", spread.min},
                     {"max", spread.max}});
      } else {
        told["value"] = number(point.value);
      }
      points.push_back(std::move(told));
    }
    families.push_back({{"name", family.name},
                        {"type", to_string(family.type)},
                        {"unit", family.unit},
                        {"help", family.help},
                        {"points", std::move(points)}});
  }
  return {{"at", format_time(snapshot.at)},
          {"since", format_time(snapshot.since)},
          {"families", std::move(families)}};
}

MetricSnapshot metric_snapshot_from(const Json& wire) {
  if (!wire.is_object()) throw Error(Exit::data, "metrics that are no object");
  MetricSnapshot snapshot;
  snapshot.at = parse_time(text_in(wire, "at"));
  snapshot.since = parse_time(text_in(wire, "since"));
  for (const auto& told : list_in(wire, "families")) {
    if (!told.is_object()) throw Error(Exit::data, "a metric that is no object");
    MetricFamily family{text_in(told, "name"),
                        type_from(text_in(told, "type")),
                        text_in(told, "unit"),
                        text_in(told, "help"),
                        {}};
    for (const auto& point : list_in(told, "points")) family.points.push_back(point_from(point, family.type));
    snapshot.families.push_back(std::move(family));
  }
  return snapshot;
}

Json to_json(const MetricSnapshot& snapshot) {
  auto counters = Json::array(), gauges = Json::array(), histograms = Json::array();
  const auto at = format_time(snapshot.at);
  for (const auto& family : snapshot.families) {
    const bool seconds = family.unit == "s";
    const auto length = [&](double value) { return number(seconds ? std::round(value * 1e6) / 1e3 : value); };
    for (const auto& point : family.points) {
      Json told{{"name", family.name}, {"tags", tags_of(point)}};
      if (family.type == Type::counter) {
        told["value"] = number(point.value);
        counters.push_back(std::move(told));
      } else if (family.type == Type::gauge) {
        if (is_instant(family)) {
          told["value"] =
              format_time(WallTime{Duration{static_cast<std::int64_t>(std::llround(point.value * 1e6))}});
        } else {
          told["value"] = length(point.value);
          if (seconds) told["unit"] = "ms";
        }
        told["updatedAt"] = at;
        gauges.push_back(std::move(told));
      } else {
        const auto& spread = point.spread;
        const bool any = spread.count > 0;
        told["count"] = spread.count;
        told["sum"] = length(spread.sum);
        told["min"] = any ? length(spread.min) : Json();
        told["max"] = any ? length(spread.max) : Json();
        told["avg"] = any ? length(spread.sum / static_cast<double>(spread.count)) : Json();
        if (seconds) told["unit"] = "ms";
        histograms.push_back(std::move(told));
      }
    }
  }
  return {{"timestamp", at},
          {"since", format_time(snapshot.since)},
          {"counters", std::move(counters)},
          {"gauges", std::move(gauges)},
          {"histograms", std::move(histograms)}};
}

}  // namespace stem
