#pragma once

#include <string>

namespace stem {

/// Which job this thread works on; log outputs add it to each line (journal fields STEM_TASK_ID, STEM_TASK,
/// STEM_QUEUE, STEM_ATTEMPT). The strings are not copied and must outlive the scope.
struct LogScope {
  const std::string& task_id;
  const std::string& task;
  const std::string& queue;
  int attempt;

  LogScope(const std::string& task_id, const std::string& task, const std::string& queue, int attempt);
  ~LogScope();
  LogScope(const LogScope&) = delete;
  LogScope& operator=(const LogScope&) = delete;

  /// The innermost scope of this thread, or null.
  static const LogScope* current();

 private:
  const LogScope* outer_;
};

}  // namespace stem
