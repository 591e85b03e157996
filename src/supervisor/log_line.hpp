#pragma once

#include <sys/types.h>
#include <optional>
#include <stem/time.hpp>
#include <string>

namespace stem {

/// One line of a node's log.
struct LogLine {
  std::string node;
  std::optional<WallTime> time;  ///< unset: the text starts with it, if the worker was told so
  std::string source;            ///< `stem`, `systemd`: what wrote it; empty = not known
  pid_t pid = 0;                 ///< of what wrote it; 0 = not known
  int priority = 6;              ///< as of syslog(3)
  std::string text;              ///< may hold line ends in the middle, and whatever a program wrote
};

/// Which lines.
struct LogQuery {
  std::optional<std::size_t> last;  ///< so many of the past; unset = all
  bool follow = false;              ///< and those to come
};

/// Takes lines as they are read, on the thread that called the supervisor.
class LogReader {
 public:
  virtual ~LogReader() = default;
  virtual void line(const LogLine&) = 0;
  /// Something that a person should know of these logs; one sentence.
  virtual void remark(const std::string&) {}
  /// All there is has been handed over; the next line may be long in coming. False: nobody reads any more.
  virtual bool caught_up() = 0;
  /// Polls as hung up when nobody reads any more; -1 = none such.
  virtual int reader_fd() const { return -1; }
};

}  // namespace stem
