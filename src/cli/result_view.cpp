#include "cli/result_view.hpp"

#include <algorithm>
#include <iostream>
#include <stem/error.hpp>

namespace stem::cli {
namespace {

std::string attempts_line(const Result& result) {
  const auto number = std::to_string(result.attempt + 1);
  if (result.state == TaskState::running) return "  attempt " + number;
  return "  after " + number + (result.attempt == 0 ? " attempt" : " attempts");
}

}  // namespace

int show_result(const std::string& id, const std::optional<Result>& result, bool json) {
  if (!result)
    throw Error(Exit::no_input, "no job " + id + " is known; its record may have expired (STEM_RESULT_TTL)");
  if (json) {
    std::cout << to_wire(*result) << '\n';
  } else {
    std::cout << result->id << "  " << to_string(result->state);
    if (result->attempt > 0 || result->state == TaskState::retried) std::cout << attempts_line(*result);
    if (result->meta.contains("progress") && result->meta["progress"].is_number())
      std::cout << "  " << static_cast<int>(result->meta["progress"].get<double>() * 100) << " %";
    std::cout << '\n';
    if (result->failure) {
      std::cout << "  " << result->failure->type << ": " << result->failure->message << '\n';
      const std::string& stack = result->failure->stack;
      for (std::size_t at = 0, end; at < stack.size(); at = end + 1) {
        end = std::min(stack.find('\n', at), stack.size());
        std::cout << "    " << stack.substr(at, end - at) << '\n';
      }
    }
    if (!result->value.is_null())
      std::cout << result->value.dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
  }
  const bool bad = result->state == TaskState::failed || result->state == TaskState::cancelled;
  return static_cast<int>(bad ? Exit::unhealthy : Exit::ok);
}

int print_result(const std::string& id, const std::optional<Result>& result, bool json) {
  const int status = show_result(id, result, json);
  if (is_final(result->state)) return status;
  throw Error(Exit::try_again,
              "job " + id + " has not ended in time; `stem result " + id + " --wait` goes on waiting");
}

}  // namespace stem::cli
