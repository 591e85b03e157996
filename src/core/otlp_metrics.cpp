#include "core/otlp_metrics.hpp"

#include <algorithm>
#include <cmath>

#include "core/json_text.hpp"
#include "core/otlp.hpp"

namespace stem {
namespace {

using Type = MetricFamily::Type;

std::string nanoseconds(WallTime time) {
  return std::to_string(std::max<std::int64_t>(time.time_since_epoch().count(), 0)).append("000");
}

std::string labels_of(const MetricPoint& point) {
  std::vector<Attribute> attributes;
  for (const auto& [name, value] : point.labels) attributes.push_back({name, value});
  return otlp_attributes(attributes);
}

/// Numbers of things are whole, whatever they are kept in.
bool is_whole(const MetricFamily& family, double value) {
  return family.unit.empty() && value == std::floor(value) && std::abs(value) < 9e15;
}

template <class Values, class Write>
std::string list_of(const Values& values, Write write) {
  std::string list = "[";
  for (const auto& value : values) {
    if (list.size() > 1) list += ',';
    list += write(value);
  }
  return list += ']';
}

std::string point_of(const MetricFamily& family, const MetricPoint& point, const MetricSnapshot& snapshot) {
  JsonText json(256);
  json.raw("attributes", labels_of(point));
  if (family.type != Type::gauge) json.text("startTimeUnixNano", nanoseconds(snapshot.since));
  json.text("timeUnixNano", nanoseconds(snapshot.at));
  if (family.type != Type::histogram) {
    if (is_whole(family, point.value))
      json.text("asInt", std::to_string(static_cast<std::int64_t>(point.value)));
    else
      json.fraction("asDouble", point.value);
    return std::move(json).finish();
  }
  const auto& spread = point.spread;
  json.text("count", std::to_string(spread.count)).fraction("sum", spread.sum);
  json.raw("bucketCounts", list_of(spread.counts, [](std::uint64_t count) {
             return std::string("\"").append(std::to_string(count)).append("\"");
           }));
  json.raw("explicitBounds", list_of(spread.bounds, [](double bound) { return Json(bound).dump(); }));
  if (spread.count > 0) json.fraction("min", spread.min).fraction("max", spread.max);
  return std::move(json).finish();
}

bool is_number(const MetricFamily& family, const MetricPoint& point) {
  if (family.type != Type::histogram) return std::isfinite(point.value);
  const auto& spread = point.spread;
  return std::isfinite(spread.sum) &&
         (spread.count == 0 || (std::isfinite(spread.min) && std::isfinite(spread.max)));
}

}  // namespace

OtlpMetrics otlp_metrics(const MetricSnapshot& snapshot, const std::string& resource) {
  OtlpMetrics told;
  std::string metrics;
  for (const auto& family : snapshot.families) {
    std::string points;
    for (const auto& point : family.points) {
      if (!is_number(family, point)) continue;
      points += points.empty() ? "[" : ",";
      points += point_of(family, point, snapshot);
      ++told.points;
    }
    if (points.empty()) continue;
    points += ']';
    JsonText data(points.size() + 64);
    data.raw("dataPoints", points);
    if (family.type != Type::gauge) data.number("aggregationTemporality", 2);  // cumulative
    if (family.type == Type::counter) data.boolean("isMonotonic", true);
    JsonText json(points.size() + 256);
    json.text("name", family.name).text("description", family.help);
    if (!family.unit.empty()) json.text("unit", family.unit);
    json.raw(family.type == Type::counter ? "sum"
             : family.type == Type::gauge ? "gauge"
                                          : "histogram",
             std::move(data).finish());
    metrics += metrics.empty() ? "" : ",";
    metrics += std::move(json).finish();
  }
  told.body = R"({"resourceMetrics":[{"resource":{"attributes":)";
  told.body.append(resource).append(R"(},"scopeMetrics":[{"scope":)").append(otlp_scope());
  told.body.append(R"(,"metrics":[)").append(metrics).append("]}]}]}");
  return told;
}

std::string metric_lines(const MetricSnapshot& snapshot) {
  std::string lines;
  for (const auto& family : snapshot.families)
    for (const auto& point : family.points) {
      if (!is_number(family, point)) continue;
      JsonText json(256);
      json.text("type", to_string(family.type)).text("name", family.name);
      if (family.type != Type::histogram) {
        if (is_whole(family, point.value))
          json.number("value", static_cast<std::int64_t>(point.value));
        else
          json.fraction("value", point.value);
      } else {
        const auto& spread = point.spread;
        json.number("count", static_cast<std::int64_t>(spread.count)).fraction("sum", spread.sum);
        if (spread.count > 0)
          json.fraction("min", spread.min)
              .fraction("max", spread.max)
              .fraction("avg", spread.sum / static_cast<double>(spread.count));
      }
      auto tags = Json::object();
      for (const auto& [name, value] : point.labels) tags[name] = value;
      json.value("tags", tags, true).text("timestamp", format_time(snapshot.at));
      if (!family.unit.empty()) json.text("unit", family.unit);
      lines += std::move(json).finish();
      lines += '\n';
    }
  return lines;
}

}  // namespace stem
