#pragma once

#include <memory>
#include <stem/config.hpp>
#include <string>
#include <string_view>

#include "core/descriptor.hpp"

namespace spdlog::sinks {
class sink;
}

namespace stem {

struct LogSettings {
  std::string node;  ///< STEM_NODE in the journal; shown on each line elsewhere
  std::string file;  ///< empty = the journal if standard error is connected to it, else standard error
  std::string level =
      "info";          ///< trace debug info warning error critical off; DEBUG_INVOCATION=1 means debug
  bool colour = true;  ///< on a terminal
};

/// Where spdlog's default logger writes. To journald as native fields (MESSAGE PRIORITY SYSLOG_IDENTIFIER
/// STEM_NODE, of a job STEM_TASK_ID STEM_TASK STEM_QUEUE STEM_ATTEMPT, in a trace TRACE_ID SPAN_ID, of a
/// LogEvent MESSAGE_ID), else one readable line an entry: `2025-01-02 03:04:05.678 info  web-1 [task id]
/// message`. What cannot be written (a full disk) is lost; the worker goes on. Logging is thread-safe;
/// construction, reopen() and the end are the main thread's.
class LogOutput {
 public:
  /// Replaces the default logger. Throws Error: 73 or 77 the file cannot be opened (mode 0640, never through
  /// a symbolic link that is not ours or root's), 78 no such level.
  explicit LogOutput(const LogSettings& settings);
  /// Back to plain standard error.
  ~LogOutput();
  LogOutput(const LogOutput&) = delete;
  LogOutput& operator=(const LogOutput&) = delete;

  /// Opens the file of that name anew, after rotation. Throws Error; the old file stays in use then.
  void reopen();
  /// Throws Error 78.
  void set_level(const std::string& level);
  bool to_journal() const;
  const std::string& file() const { return settings_.file; }
  /// A line of a foreign program's output, as it is, into the log file. Nothing if there is none.
  void write_line(std::string_view line);

 private:
  LogSettings settings_;
  std::shared_ptr<spdlog::sinks::sink> sink_;
};

/// Opens a log file to append to it, or makes it with mode 0640. Throws Error 73 or 77, as LogOutput.
Descriptor open_log_file(const std::string& path);

/// True if $JOURNAL_STREAM names the device and inode of standard error.
bool stderr_is_journal();

}  // namespace stem
