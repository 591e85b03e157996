#include "cli/fleet_view.hpp"

#include <algorithm>

#include "cli/node_view.hpp"
#include "cli/table.hpp"

namespace stem::cli {

int status_of(const std::vector<FleetAnswer>& answers, int nobody) {
  if (answers.empty()) return nobody;
  const bool all =
      std::all_of(answers.begin(), answers.end(), [](const auto& answer) { return answer.ok(); });
  return static_cast<int>(all ? Exit::ok : Exit::unhealthy);
}

const char* word_of(FleetAnswer::Kind kind) {
  switch (kind) {
    case FleetAnswer::Kind::done:
      return "ok";
    case FleetAnswer::Kind::refused:
      return "error";
    case FleetAnswer::Kind::silent:
      return "no answer";
    case FleetAnswer::Kind::ended:
      return "ended";
    case FleetAnswer::Kind::absent:
      return "absent";
  }
  return "";
}

std::string answers_json(const std::vector<FleetAnswer>& answers) {
  auto rows = Json::array();
  for (const auto& answer : answers) {
    const bool answered = answer.kind == FleetAnswer::Kind::done || answer.kind == FleetAnswer::Kind::refused;
    rows.push_back({{"workerId", answer.node},
                    {"host", answer.host.empty() ? Json() : Json(answer.host)},
                    {"status", word_of(answer.kind)},
                    {"tookMs", answered ? Json(static_cast<double>(answer.took.count()) / 1000) : Json()},
                    {"payload", answer.payload},
                    {"error", answer.error.empty() ? Json() : Json(answer.error)}});
  }
  return rows.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string answers_table(const std::vector<FleetAnswer>& answers, const std::string& name_space,
                          const std::vector<std::string>& headings,
                          const std::function<std::vector<std::string>(const FleetAnswer&)>& cells) {
  if (answers.empty()) return "no worker of namespace " + name_space + " lives\n";
  std::vector<std::string> first{"WORKER", "HOST", "STATUS"};
  first.insert(first.end(), headings.begin(), headings.end());
  const bool troubled =
      std::any_of(answers.begin(), answers.end(), [](const auto& answer) { return !answer.ok(); });
  if (troubled) first.emplace_back("REASON");
  Table table(first);
  for (const auto& answer : answers) {
    std::vector<std::string> row{answer.node, answer.host.empty() ? "-" : plain(answer.host),
                                 word_of(answer.kind)};
    const auto told = answer.ok() ? cells(answer) : std::vector<std::string>(headings.size(), "-");
    row.insert(row.end(), told.begin(), told.end());
    if (troubled) row.push_back(plain(answer.error));
    table.add(std::move(row));
  }
  return table.text();
}

std::string number_cell(const Json& payload, const char* key) {
  const auto found = payload.find(key);
  return found != payload.end() && found->is_number_integer() ? std::to_string(found->get<std::int64_t>())
                                                              : "-";
}

std::string text_cell(const Json& payload, const char* key) {
  const auto found = payload.find(key);
  return found != payload.end() && found->is_string() ? plain(found->get<std::string>()) : "-";
}

std::string list_cell(const Json& payload, const char* key) {
  const auto found = payload.find(key);
  if (found == payload.end() || !found->is_array()) return "-";
  std::string text;
  for (const auto& one : *found)
    if (one.is_string()) text += (text.empty() ? "" : ",") + plain(one.get<std::string>());
  return text.empty() ? "-" : text;
}

std::string length_cell(const Json& payload, const char* key) {
  const auto found = payload.find(key);
  if (found == payload.end() || !found->is_number_integer()) return "-";
  return human_duration(std::chrono::milliseconds(
      std::clamp<std::int64_t>(found->get<std::int64_t>(), 0, std::int64_t{1} << 50)));
}

std::string bytes_cell(const Json& payload, const char* key) {
  const auto found = payload.find(key);
  if (found == payload.end() || !found->is_number_integer() || found->get<std::int64_t>() <= 0) return "-";
  return human_bytes(found->get<std::uint64_t>());
}

}  // namespace stem::cli
