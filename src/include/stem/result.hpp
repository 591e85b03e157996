#pragma once

#include <optional>
#include <stem/json.hpp>
#include <string>
#include <string_view>

namespace stem {

enum class TaskState { queued, running, succeeded, failed, retried, cancelled };

/// The word used on the wire and on the screen.
const char* to_string(TaskState state);
/// The state of that word; an unknown word reads as queued, as the format's other implementations do.
TaskState task_state_from(std::string_view word);
/// succeeded, failed and cancelled: nothing more will happen to the job.
bool is_final(TaskState state);

/// Why an attempt failed.
struct Failure {
  std::string type;  ///< the exception's type name, a signal's name, or a reason such as `hard-time-limit`
  std::string message;
  bool retryable = true;
  std::string stack{};  ///< where the handler's process was when a signal ended it, for people; else empty

  friend bool operator==(const Failure&, const Failure&) = default;
};

/// What became of a job: the result record, kept in the result backend under `result:ID` until its
/// time-to-live ends.
struct Result {
  std::string id;
  TaskState state = TaskState::queued;
  Json value;                      ///< what the handler returned; null unless succeeded
  std::optional<Failure> failure;  ///< set when failed or retried
  int attempt = 0;                 ///< attempts that were finished before the one this record tells of
  Json meta = Json::object();      ///< `task queue worker startedAt completedAt …`

  /// The value as a C++ type. Throws nlohmann::json::exception when it does not fit.
  template <class T>
  T as() const {
    return value.get<T>();
  }
};

/// Throws Error (exit 65) if the value is nested deeper than 512 levels.
std::string to_wire(const Result& result);
/// The same with `meta`, the text of a JSON object, in place of the result's own.
std::string to_wire(const Result& result, std::string_view meta);
/// Throws Error (exit 65).
Result result_from_wire(std::string_view wire);

}  // namespace stem
