#include "service/log_output.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <stem/error.hpp>
#include <vector>

#include "core/descriptor.hpp"
#include "core/log_event.hpp"
#include "core/log_scope.hpp"
#include "core/name.hpp"
#include "core/trace_scope.hpp"

namespace stem {
namespace {

using spdlog::level::level_enum;

/// The priorities of syslog(3).
int priority(level_enum level) {
  switch (level) {
    case level_enum::critical:
      return 2;
    case level_enum::err:
      return 3;
    case level_enum::warn:
      return 4;
    case level_enum::info:
      return 6;
    default:
      return 7;
  }
}

const char* word(level_enum level) {
  switch (level) {
    case level_enum::critical:
      return "critical";
    case level_enum::err:
      return "error";
    case level_enum::warn:
      return "warning";
    case level_enum::info:
      return "info";
    case level_enum::debug:
      return "debug";
    default:
      return "trace";
  }
}

const char* colour(level_enum level) {
  switch (level) {
    case level_enum::critical:
    case level_enum::err:
      return "\033[31m";
    case level_enum::warn:
      return "\033[33m";
    case level_enum::info:
      return "\033[32m";
    default:
      return "\033[2m";
  }
}

/// Writes all of it, or says no: a full disk, a closed terminal.
bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const auto count = ::write(fd, text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    text.remove_prefix(static_cast<std::size_t>(count));
  }
  return true;
}

/// Appends a message such that no line of it can be taken for an entry of its own, nor steer a terminal.
void append_message(std::string& line, std::string_view message) {
  for (const char c : message) {
    const auto code = static_cast<unsigned char>(c);
    if (c == '\n') {
      line += "\n    ";
    } else if ((code < 0x20 && c != '\t') || code == 0x7f) {
      char escaped[5];
      std::snprintf(escaped, sizeof escaped, "\\x%02x", code);
      line += escaped;
    } else {
      line += c;
    }
  }
}

class LineSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  LineSink(Descriptor file, std::string node, bool coloured)
      : file_(std::move(file)), node_(std::move(node)), coloured_(coloured) {}

  /// Standard output and error that lead to the old file, in a detached worker, move as well.
  void replace(Descriptor file) {
    const std::lock_guard lock(mutex_);
    struct stat old {
    }, standard{};
    if (fstat(file_.get(), &old) == 0)
      for (const int fd : {STDOUT_FILENO, STDERR_FILENO})
        if (fstat(fd, &standard) == 0 && standard.st_dev == old.st_dev && standard.st_ino == old.st_ino)
          dup2(file.get(), fd);
    file_ = std::move(file);
  }
  void write_line(std::string_view text) {
    const std::lock_guard lock(mutex_);
    line_.assign(text).push_back('\n');
    put();
  }

 private:
  void sink_it_(const spdlog::details::log_msg& entry) override {
    line_ = format_time(std::chrono::floor<std::chrono::milliseconds>(entry.time));
    line_ += ' ';
    if (coloured_) line_ += colour(entry.level);
    const std::string_view level = word(entry.level);
    line_.append(level).append(level.size() < 7 ? 7 - level.size() : 0, ' ');
    if (coloured_) line_ += "\033[0m";
    if (!node_.empty()) line_.append(" ").append(node_);
    if (const auto* scope = LogScope::current())
      append_message(line_.append(" ["), scope->task + " " + scope->task_id + "]");
    append_message(line_.append(" "), {entry.payload.data(), entry.payload.size()});
    line_ += '\n';
    put();
  }
  void flush_() override {}

  void put() {
    if (lost_ > 0) {
      const auto note = "(" + std::to_string(lost_) + " lines before this one could not be written)\n";
      if (!write_all(file_.get(), note)) {
        ++lost_;
        return;
      }
      lost_ = 0;
    }
    if (!write_all(file_.get(), line_)) ++lost_;
  }

  Descriptor file_;
  const std::string node_;
  const bool coloured_;
  std::string line_;
  std::size_t lost_ = 0;
};

class JournalSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit JournalSink(const std::string& node) : node_("STEM_NODE=" + node) {}

 private:
  void sink_it_(const spdlog::details::log_msg& entry) override {
    count_ = 0;
    add("SYSLOG_IDENTIFIER=stem");
    add("PRIORITY=" + std::to_string(priority(entry.level)));
    add("MESSAGE=" + std::string(entry.payload.data(), entry.payload.size()));
    if (node_.size() > std::string_view("STEM_NODE=").size()) add(node_);
    if (const auto* scope = LogScope::current()) {
      add("STEM_TASK_ID=" + scope->task_id);
      add("STEM_TASK=" + scope->task);
      add("STEM_QUEUE=" + scope->queue);
      add("STEM_ATTEMPT=" + std::to_string(scope->attempt));
    }
    if (const auto* trace = TraceScope::current()) {
      add("TRACE_ID=" + to_hex(trace->context().trace));
      add("SPAN_ID=" + to_hex(trace->context().span));
    }
    if (const auto* identity = LogEvent::current()) add("MESSAGE_ID=" + std::string(identity));
    if (!entry.source.empty()) {
      add("CODE_FILE=" + std::string(entry.source.filename));
      add("CODE_LINE=" + std::to_string(entry.source.line));
      add("CODE_FUNC=" + std::string(entry.source.funcname));
    }
    iovec fields[most];
    for (int i = 0; i < count_; ++i) fields[i] = {fields_[i].data(), fields_[i].size()};
    if (sd_journal_sendv(fields, count_) < 0)
      write_all(STDERR_FILENO,
                "<" + std::to_string(priority(entry.level)) + ">" + fields_[2].substr(8) + "\n");
  }
  void flush_() override {}

  void add(std::string field) { fields_[count_++] = std::move(field); }

  static constexpr int most = 14;
  const std::string node_;
  std::string fields_[most];
  int count_ = 0;
};

}  // namespace

Descriptor open_log_file(const std::string& path) {
  const auto refuse = [&](Exit code, const std::string& why) {
    return Error(code, "cannot open log file " + path + ": " + why);
  };
  auto at = path;
  for (int links = 0; links < 8; ++links) {
    constexpr int flags =
        O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;  // not to wait for a FIFO's reader
    Descriptor file(open(at.c_str(), flags | O_NOFOLLOW | O_CREAT | O_EXCL, 0600));
    if (file) {
      fchmod(file.get(), 0640);  // whatever the umask
    } else if (errno == EEXIST) {
      file.reset(open(at.c_str(), flags | O_NOFOLLOW));
    }
    if (!file && errno == ELOOP) {
      const Descriptor link(open(at.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
      struct stat status {};
      struct statfs place {};
      char target[PATH_MAX] = {};
      if (!link || fstat(link.get(), &status) != 0 ||
          readlinkat(link.get(), "", target, sizeof target - 1) < 0)
        throw refuse(Exit::cannot_create, std::strerror(errno));
      if (status.st_uid != geteuid() && status.st_uid != 0)
        throw refuse(Exit::no_permission, at + " is a symbolic link of another user (uid " +
                                              std::to_string(status.st_uid) +
                                              "); remove it or name another path");
      if (fstatfs(link.get(), &place) == 0 && place.f_type == PROC_SUPER_MAGIC) {
        file.reset(open(at.c_str(), flags));  // /dev/stdout and its like lead to no name
      } else {
        at = *target == '/' ? target : at.substr(0, at.find_last_of('/') + 1) + target;
        continue;
      }
    }
    if (!file) {
      const bool permission = errno == EACCES || errno == EPERM;
      throw refuse(permission ? Exit::no_permission : Exit::cannot_create,
                   std::string(std::strerror(errno)) +
                       (permission       ? "; make it writable for the user that the worker runs as"
                        : errno == ENXIO ? "; nothing reads at the other end"
                                         : "; name another path"));
    }
    fcntl(file.get(), F_SETFL, O_APPEND);
    return file;
  }
  throw refuse(Exit::cannot_create, "too many symbolic links");
}

namespace {

level_enum level_of(const std::string& name) {
  const auto* debug = std::getenv("DEBUG_INVOCATION");  // RestartMode=debug of systemd.service(5)
  const auto level = spdlog::level::from_str(name);
  if (level == level_enum::off && name != "off")
    throw Error(Exit::config,
                "unknown log level `" + printable(name) + "`; use debug, info, warning or error");
  return debug && std::strcmp(debug, "1") == 0 ? std::min(level, level_enum::debug) : level;
}

/// Handlers that were left behind may still hold the former logger, as a bare pointer: it is kept for good.
void set_logger(std::shared_ptr<spdlog::logger> logger) {
  static auto& kept = *new std::vector<std::shared_ptr<spdlog::logger>>;
  kept.push_back(spdlog::default_logger());
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace

bool stderr_is_journal() {
  const char* stream = std::getenv("JOURNAL_STREAM");
  struct stat status {};
  if (!stream || fstat(STDERR_FILENO, &status) != 0) return false;
  return std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino) == stream;
}

LogOutput::LogOutput(const LogSettings& settings) : settings_(settings) {
  const auto level = level_of(settings.level);
  if (!settings.file.empty()) {
    sink_ = std::make_shared<LineSink>(open_log_file(settings.file), settings.node, false);
  } else if (stderr_is_journal()) {
    sink_ = std::make_shared<JournalSink>(settings.node);
  } else {
    const bool coloured = settings.colour && isatty(STDERR_FILENO) && !std::getenv("NO_COLOR");
    sink_ = std::make_shared<LineSink>(Descriptor(fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3)), settings.node,
                                       coloured);
  }
  auto logger = std::make_shared<spdlog::logger>("stem", sink_);
  logger->set_level(level);
  set_logger(std::move(logger));
}

LogOutput::~LogOutput() {
  auto plain = std::make_shared<LineSink>(Descriptor(fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3)), "", false);
  set_logger(std::make_shared<spdlog::logger>("stem", std::move(plain)));
}

void LogOutput::reopen() {
  if (settings_.file.empty()) return;
  static_cast<LineSink&>(*sink_).replace(open_log_file(settings_.file));
}

void LogOutput::set_level(const std::string& level) {
  spdlog::set_level(level_of(level));
}

bool LogOutput::to_journal() const {
  return dynamic_cast<JournalSink*>(sink_.get()) != nullptr;
}

void LogOutput::write_line(std::string_view line) {
  if (!settings_.file.empty()) static_cast<LineSink&>(*sink_).write_line(line);
}

}  // namespace stem
