#include "worker/heartbeat.hpp"

#include <unistd.h>

#include <algorithm>
#include <stem/error.hpp>

#include "core/name.hpp"

namespace stem {
namespace {

constexpr std::size_t page = 500;

std::string prefix_of(const std::string& name_space) {
  return "heartbeat:" + name_space + ":";
}

std::optional<Heartbeat> heartbeat_from(const std::string& wire) {
  auto json = Json::parse(wire, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  const auto text = [&](const char* key) {
    const auto found = json.find(key);
    return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  Heartbeat beat;
  beat.node = text("workerId");
  beat.host = text("host");
  beat.name_space = text("namespace");
  if (!is_name(beat.node) || beat.host.empty() || beat.host != printable(beat.host)) return std::nullopt;
  try {
    beat.at = parse_time(text("timestamp"));
  } catch (const Error&) {
    return std::nullopt;
  }
  if (const auto found = json.find("intervalMs"); found != json.end() && found->is_number_integer())
    beat.interval =
        std::chrono::milliseconds(std::clamp<std::int64_t>(found->get<std::int64_t>(), 1, 86'400'000));
  for (const char* key : {"workerId", "host", "namespace", "timestamp", "intervalMs", "version"})
    json.erase(key);
  beat.facts = std::move(json);
  return beat;
}

}  // namespace

std::string this_host() {
  char name[256] = "";
  return gethostname(name, sizeof name - 1) == 0 && name[0] != '\0' ? printable(name) : "localhost";
}

std::string heartbeat_key(const Heartbeat& heartbeat) {
  return prefix_of(heartbeat.name_space) + heartbeat.node + "@" + heartbeat.host;
}

Json to_json(const Heartbeat& heartbeat) {
  auto json = heartbeat.facts;
  json["workerId"] = heartbeat.node;
  json["host"] = heartbeat.host;
  json["namespace"] = heartbeat.name_space;
  json["timestamp"] = format_time(heartbeat.at);
  json["intervalMs"] = duration_cast<std::chrono::milliseconds>(heartbeat.interval).count();
  json["version"] = "1";
  return json;
}

StoreWrite heartbeat_record(const Heartbeat& heartbeat) {
  return {heartbeat_key(heartbeat), to_json(heartbeat).dump(-1, ' ', false, Json::error_handler_t::replace),
          3 * heartbeat.interval};
}

std::vector<Heartbeat> read_heartbeats(Store& store, const std::string& name_space) {
  std::vector<Heartbeat> beats;
  std::string after;
  for (bool more = true; more;) {
    const auto entries = store.list(prefix_of(name_space), page, after);
    more = entries.size() == page;
    for (const auto& entry : entries) {
      after = entry.key;
      if (auto beat = heartbeat_from(entry.value);
          beat && beat->name_space == name_space && heartbeat_key(*beat) == entry.key)
        beats.push_back(std::move(*beat));
    }
  }
  return beats;
}

}  // namespace stem
