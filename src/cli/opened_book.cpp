#include "cli/opened_book.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stem/error.hpp>

#include "cli/schedule_file.hpp"
#include "core/id.hpp"
#include "storage/open.hpp"

namespace stem::cli {
namespace {

[[noreturn]] void fail(const std::string& what, const std::string& path) {
  const int number = errno;
  throw Error(
      number == EACCES || number == EPERM || number == EROFS ? Exit::no_permission : Exit::cannot_create,
      "cannot " + what + " " + path + ": " + std::strerror(number) + "; it is named by STEM_SCHEDULE_FILE");
}

Descriptor lock_file(const std::string& path) {
  Descriptor lock(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666));
  if (!lock) fail("lock", path);
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0)
    throw Error(Exit::try_again, "another command changes the schedules, it holds " + path + "; try again");
  return lock;
}

std::string content_of(const std::string& path) {
  if (access(path.c_str(), F_OK) != 0 && errno == ENOENT) return "[]";
  std::ifstream file(path, std::ios::binary);
  if (!file) fail("read", path);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Whose the new file is, and who may read it, as with the old one.
void make_alike(const Descriptor& fresh, const std::string& path) {
  struct stat before {
  }, now{};
  if (stat(path.c_str(), &before) != 0) return;
  if (fstat(fresh.get(), &now) != 0 ||
      ((before.st_uid != now.st_uid || before.st_gid != now.st_gid) &&
       fchown(fresh.get(), before.st_uid, before.st_gid) != 0) ||
      fchmod(fresh.get(), before.st_mode & 07777) != 0)
    fail("keep the owner and mode of", path);
}

void write_whole(const std::string& path, const std::string& text) {
  const auto fresh = path + ".new";
  unlink(fresh.c_str());  // of one who was killed
  const Descriptor file(open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666));
  if (!file) fail("write", fresh);
  make_alike(file, path);
  for (std::size_t at = 0; at < text.size();) {
    const auto written = write(file.get(), text.data() + at, text.size() - at);
    if (written < 0 && errno != EINTR) fail("write", fresh);
    if (written > 0) at += static_cast<std::size_t>(written);
  }
  if (fsync(file.get()) != 0) fail("write", fresh);
  if (rename(fresh.c_str(), path.c_str()) != 0) fail("write", path);
}

}  // namespace

OpenedBook::OpenedBook(const Config& config, For use) : file_(config.schedule_file) {
  if (file_.empty()) {
    store_ = open_schedule_places(config).schedules;
    book_ = std::make_unique<ScheduleBook>(store_);
    return;
  }
  std::error_code error;
  path_ = std::filesystem::weakly_canonical(file_, error).string();
  if (error) path_ = file_;
  if (use == For::writing) lock_ = lock_file(path_ + ".lock");
  Config memory;
  const auto now = Clock::system().wall();
  memory.broker_url = "memory://schedule-file-" + new_id(now);
  store_ = open_storage(memory).results;
  book_ = std::make_unique<ScheduleBook>(store_);
  ScheduleEdit edit;
  for (auto& filed : read_schedules(file_, content_of(path_))) {
    filed.entry.since = filed.entry.created_at = filed.entry.updated_at = now;
    edit.put.push_back(std::move(filed.entry));
  }
  book_->commit(edit);
}

void OpenedBook::commit(const ScheduleEdit& edit) {
  book_->commit(edit);
  if (file_.empty() || edit.empty()) return;
  auto list = Json::array();
  for (const auto& booked : book_->all()) list.push_back(to_json(booked.entry));
  write_whole(path_, Json{{"version", 1}, {"schedules", std::move(list)}}.dump(2) + "\n");
}

}  // namespace stem::cli
