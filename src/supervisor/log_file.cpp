#include "supervisor/log_file.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <list>
#include <optional>
#include <stem/error.hpp>

#include "core/descriptor.hpp"

namespace stem {
namespace {

constexpr off_t excerpt_bytes = 16384;
constexpr std::size_t block_bytes = 64 * 1024;
/// A line that is longer is handed over in parts.
constexpr std::size_t longest_line = 1024 * 1024;

/// Empty if there is none. Never through a link: whoever may write in the directory could make one.
Descriptor open_log(const std::string& path, struct stat& status) {
  Descriptor file(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!file && errno == ENOENT) return {};
  const auto refuse = [&](const std::string& why) {
    throw Error(Exit::no_permission, "cannot read the log file " + path + ": " + why);
  };
  if (!file) refuse(errno == ELOOP ? "it is a symbolic link" : std::strerror(errno));
  if (fstat(file.get(), &status) != 0) refuse(std::strerror(errno));
  if (!S_ISREG(status.st_mode)) refuse("it is not a regular file");
  return file;
}

/// Where the last `count` lines begin.
off_t start_of_last(int file, off_t size, std::size_t count) {
  if (count == 0) return size;
  std::string block;
  for (off_t end = size; end > 0;) {
    const auto begin = std::max<off_t>(end - static_cast<off_t>(block_bytes), 0);
    block.resize(static_cast<std::size_t>(end - begin));
    if (pread(file, block.data(), block.size(), begin) != end - begin) return 0;
    for (auto at = block.size(); at-- > 0;) {
      const auto place = begin + static_cast<off_t>(at);
      if (block[at] == '\n' && place != size - 1 && --count == 0) return place + 1;
    }
    end = begin;
  }
  return 0;
}

/// What is read of one file, up to where it ends now.
class Reading {
 public:
  Reading(Descriptor file, off_t from) : file_(std::move(file)), at_(from) {}

  void drain(const std::string& node, LogReader& reader) {
    std::string block(block_bytes, '\0');
    for (;;) {
      const auto got = pread(file_.get(), block.data(), block.size(), at_);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return;
      at_ += got;
      rest_.append(block, 0, static_cast<std::size_t>(got));
      std::size_t begin = 0;
      for (std::size_t end; (end = rest_.find('\n', begin)) != rest_.npos; begin = end + 1)
        hand_over(node, rest_.substr(begin, end - begin), reader);
      rest_.erase(0, begin);
      if (rest_.size() > longest_line) finish(node, reader);
    }
  }

  /// What stands behind the last line end.
  void finish(const std::string& node, LogReader& reader) {
    if (!rest_.empty()) hand_over(node, rest_, reader);
    rest_.clear();
  }

  bool is(const struct stat& other) const {
    struct stat own {};
    return fstat(file_.get(), &own) == 0 && own.st_dev == other.st_dev && own.st_ino == other.st_ino;
  }
  /// copytruncate: the same file begins anew.
  void restart_if_cut(const struct stat& now) {
    if (now.st_size >= at_) return;
    at_ = 0;
    rest_.clear();
  }

 private:
  static void hand_over(const std::string& node, std::string text, LogReader& reader) {
    LogLine line;
    line.node = node;
    line.text = std::move(text);
    reader.line(line);
  }

  Descriptor file_;
  off_t at_;
  std::string rest_;
};

/// One node's log file, through its rotations.
class Followed {
 public:
  explicit Followed(NodeLogFile file) : file_(std::move(file)) {}
  const std::string& path() const { return file_.path; }

  void past(const LogQuery& query, LogReader& reader) {
    struct stat status {};
    auto file = open_log(file_.path, status);
    if (!file) {
      if (query.follow) return;
      throw Error(Exit::no_input, "node " + file_.node + " has no log file " + file_.path +
                                      "; has it ever been started, and does its program write one?");
    }
    const auto from = query.last ? start_of_last(file.get(), status.st_size, *query.last) : 0;
    now_.emplace(std::move(file), from);
    now_->drain(file_.node, reader);
    if (!query.follow) now_->finish(file_.node, reader);
  }

  void news(LogReader& reader) {
    if (former_) former_->drain(file_.node, reader);
    if (now_) now_->drain(file_.node, reader);
    struct stat status {};
    if (lstat(file_.path.c_str(), &status) != 0) return;
    if (now_ && now_->is(status)) {
      now_->restart_if_cut(status);
      return now_->drain(file_.node, reader);
    }
    auto file = open_log(file_.path, status);
    if (!file) return;
    if (former_) former_->finish(file_.node, reader);
    former_ = std::move(now_);
    now_.emplace(std::move(file), 0);
    now_->drain(file_.node, reader);
  }

 private:
  NodeLogFile file_;
  std::optional<Reading> now_, former_;  // a renamed file may get some lines more, until its writer knows
};

/// Wakes for whatever happens in the directories of these files.
class Watch {
 public:
  explicit Watch(const std::list<Followed>& files) : inotify_(inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) {
    constexpr auto changes = IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE;
    for (const auto& file : files) {
      const auto directory = std::filesystem::path(file.path()).parent_path();
      if (!inotify_ || inotify_add_watch(inotify_.get(), directory.c_str(), changes) < 0)
        throw Error(errno == ENOENT   ? Exit::no_input
                    : errno == EACCES ? Exit::no_permission
                                      : Exit::try_again,
                    "cannot follow " + file.path() + ": " + std::strerror(errno));
    }
  }

  /// False: the reader has gone.
  bool wait(int reader_fd) const {
    pollfd events[] = {{inotify_.get(), POLLIN, 0}, {reader_fd, 0, 0}};
    while (poll(events, 2, -1) < 0 && errno == EINTR) {
    }
    char block[16 * 1024];
    while (read(inotify_.get(), block, sizeof block) > 0) {
    }
    return events[1].revents == 0;
  }

 private:
  Descriptor inotify_;
};

}  // namespace

std::vector<std::string> last_lines(const std::string& file, off_t from, std::size_t count) {
  const Descriptor log(open(file.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat status {};
  if (!log || fstat(log.get(), &status) != 0) return {};
  from = std::max(from, status.st_size - excerpt_bytes);
  std::string text(static_cast<std::size_t>(std::max<off_t>(status.st_size - from, 0)), '\0');
  const auto got = pread(log.get(), text.data(), text.size(), from);
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find('\n', at), text.size());
    auto line = text.substr(at, end - at);
    for (char& c : line)
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
    if (!line.empty()) lines.push_back(std::move(line));
    at = end + 1;
  }
  if (lines.size() > count) lines.erase(lines.begin(), lines.end() - static_cast<std::ptrdiff_t>(count));
  return lines;
}

void read_log_files(const std::vector<NodeLogFile>& files, const LogQuery& query, LogReader& reader) {
  std::list<Followed> all(files.begin(), files.end());
  // Before the first look, lest a change between the two is missed.
  std::optional<Watch> watch;
  if (query.follow) watch.emplace(all);
  for (auto& file : all) file.past(query, reader);
  while (reader.caught_up() && watch && watch->wait(reader.reader_fd()))
    for (auto& file : all) file.news(reader);
}

}  // namespace stem
