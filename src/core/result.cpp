#include <array>
#include <stem/error.hpp>
#include <stem/result.hpp>

namespace stem {
namespace {
constexpr std::array words{"queued", "running", "succeeded", "failed", "retried", "cancelled"};
}

const char* to_string(TaskState state) { return words[static_cast<std::size_t>(state)]; }

TaskState task_state_from(std::string_view word) {
  for (std::size_t i = 0; i < words.size(); ++i)
    if (word == words[i]) return static_cast<TaskState>(i);
  return TaskState::queued;
}

bool is_final(TaskState state) {
  return state == TaskState::succeeded || state == TaskState::failed || state == TaskState::cancelled;
}

std::string to_wire(const Result& result) {
  nlohmann::ordered_json json;
  json["id"] = result.id;
  json["state"] = to_string(result.state);
  json["payload"] = result.value;
  if (result.failure)
    json["error"] = {{"type", result.failure->type},
                     {"message", result.failure->message},
                     {"retryable", result.failure->retryable}};
  else
    json["error"] = nullptr;
  json["meta"] = result.meta;
  json["attempt"] = result.attempt;
  // A handler's text may hold any bytes; what is not UTF-8 is replaced rather than losing the record.
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

Result result_from_wire(std::string_view wire) {
  try {
    const auto json = Json::parse(wire);
    Result result;
    result.id = json.at("id").get<std::string>();
    result.state = task_state_from(json.at("state").get<std::string>());
    result.value = json.value("payload", Json());
    if (const auto error = json.find("error"); error != json.end() && error->is_object())
      result.failure = Failure{error->value("type", ""), error->value("message", ""), error->value("retryable", true)};
    result.meta = json.value("meta", Json::object());
    result.attempt = json.value("attempt", 0);
    return result;
  } catch (const Json::exception& error) {
    throw Error(Exit::data, std::string("malformed result record: ") + error.what());
  }
}

}  // namespace stem
