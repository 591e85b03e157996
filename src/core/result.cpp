#include <algorithm>
#include <array>
#include <stem/error.hpp>
#include <stem/result.hpp>

#include "core/json_depth.hpp"
#include "core/json_text.hpp"

namespace stem {
namespace {
constexpr std::array words{"queued", "running", "succeeded", "failed", "retried", "cancelled"};

std::string error_text(const Failure& failure) {
  JsonText json;
  json.text("type", failure.type).text("message", failure.message).boolean("retryable", failure.retryable);
  if (!failure.stack.empty()) json.text("stack", failure.stack);
  return std::move(json).finish();
}

}  // namespace

const char* to_string(TaskState state) {
  return words[static_cast<std::size_t>(state)];
}

TaskState task_state_from(std::string_view word) {
  for (std::size_t i = 0; i < words.size(); ++i)
    if (word == words[i]) return static_cast<TaskState>(i);
  return TaskState::queued;
}

bool is_final(TaskState state) {
  return state == TaskState::succeeded || state == TaskState::failed || state == TaskState::cancelled;
}

std::string to_wire(const Result& result) {
  return to_wire(result, result.meta.dump(-1, ' ', false, Json::error_handler_t::replace));
}

std::string to_wire(const Result& result, std::string_view meta) {
  if (too_deep(result.value))
    throw Error(Exit::data, "the result is nested deeper than " + std::to_string(deepest_json) + " levels");
  // A handler's text may hold any bytes; what is not UTF-8 is replaced rather than losing the record.
  JsonText json;
  json.text("id", result.id).text("state", to_string(result.state)).value("payload", result.value, true);
  if (const auto& failure = result.failure)
    json.raw("error", error_text(*failure));
  else
    json.null("error");
  return std::move(json.raw("meta", meta).number("attempt", result.attempt)).finish();
}

Result result_from_wire(std::string_view wire) {
  try {
    const auto json = Json::parse(wire);
    Result result;
    result.id = json.at("id").get<std::string>();
    result.state = task_state_from(json.at("state").get<std::string>());
    result.value = json.value("payload", Json());
    if (const auto error = json.find("error"); error != json.end() && error->is_object()) {
      result.failure =
          Failure{error->value("type", ""), error->value("message", ""), error->value("retryable", true)};
      // Others that write this format write null where there is none.
      if (const auto stack = error->find("stack"); stack != error->end() && stack->is_string())
        result.failure->stack = stack->get<std::string>();
    }
    result.meta = json.value("meta", Json::object());
    result.attempt = json.value("attempt", 0);
    return result;
  } catch (const Json::exception& error) {
    std::string why = error.what();
    std::replace(why.begin(), why.end(), '\x7f',
                 '?');  // the only control character that the library quotes as it is
    throw Error(Exit::data, "malformed result record: " + why);
  }
}

}  // namespace stem
