#include "supervisor/node_record.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <stem/error.hpp>

#include "core/name.hpp"
#include "service/directories.hpp"

namespace stem {
namespace {

constexpr int version = 1;
constexpr off_t longest = 1 << 20;

[[noreturn]] void cannot(const char* what, const std::string& path, int error) {
  throw Error(error == EACCES || error == EPERM || error == ELOOP ? Exit::no_permission : Exit::cannot_create,
              std::string("cannot ") + what + " " + path + ": " + std::strerror(error) +
                  "; nodes are recorded there: run this as the user who owns it, or name another place with "
                  "STEM_RUNTIME_DIR");
}

bool ours(const struct stat& status) {
  return status.st_uid == geteuid() || status.st_uid == 0;
}

}  // namespace

/// The directory itself, not what a link in its place leads to: the directory above may belong to the
/// workers' user.
Descriptor NodeRecords::directory() const {
  Descriptor directory(open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat status {};
  if (directory && (fstat(directory.get(), &status) != 0 || !ours(status))) {
    directory.reset();
    errno = EPERM;
  }
  // What open(2) says of a link: it is no directory.
  if (!directory && errno == ENOTDIR && lstat(directory_.c_str(), &status) == 0 && S_ISLNK(status.st_mode))
    errno = ELOOP;
  return directory;
}

Descriptor NodeRecords::lock(const std::string& node, bool waits) const {
  make_directories(directory_, Owner::self());
  const auto directory = this->directory();
  if (!directory) cannot("trust", directory_, errno);
  const auto file = node + ".lock";
  Descriptor held(openat(directory.get(), file.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!held) cannot("open", path(node, ".lock"), errno);
  while (flock(held.get(), LOCK_EX | (waits ? 0 : LOCK_NB)) != 0) {
    if (errno == EWOULDBLOCK) return {};
    if (errno != EINTR) cannot("lock", path(node, ".lock"), errno);
  }
  return held;
}

std::optional<NodeRecord> NodeRecords::read(const std::string& node) const {
  const auto directory = this->directory();
  if (!directory) return std::nullopt;
  const Descriptor file(
      openat(directory.get(), (node + ".json").c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat status {};
  if (!file || fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode) || !ours(status) ||
      status.st_size > longest)
    return std::nullopt;
  std::string text(static_cast<std::size_t>(status.st_size), '\0');
  const auto got = pread(file.get(), text.data(), text.size(), 0);
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  const auto json = Json::parse(text, nullptr, false);
  if (!json.is_object() || json.value("v", 0) != version) return std::nullopt;
  try {
    return NodeRecord{node_options_from_json(json.at("options")), json.at("pidfile"), json.at("logfile")};
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

void NodeRecords::write(const std::string& node, const NodeRecord& record) const {
  const Json json{{"v", version},
                  {"node", node},
                  {"options", to_json(record.options)},
                  {"pidfile", record.pidfile},
                  {"logfile", record.logfile}};
  const auto text = json.dump() + "\n";
  const auto directory = this->directory();
  if (!directory) cannot("trust", directory_, errno);
  const auto target = node + ".json", fresh = target + ".new";
  unlinkat(directory.get(), fresh.c_str(), 0);
  const Descriptor file(
      openat(directory.get(), fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!file) cannot("write", path(node, ".json.new"), errno);
  const auto put = ::write(file.get(), text.data(), text.size());
  if (put != static_cast<ssize_t>(text.size()) ||
      renameat(directory.get(), fresh.c_str(), directory.get(), target.c_str()) != 0) {
    const int error = put < 0 ? errno : put != static_cast<ssize_t>(text.size()) ? ENOSPC : errno;
    unlinkat(directory.get(), fresh.c_str(), 0);
    cannot("write", path(node, ".json"), error);
  }
}

std::vector<std::string> NodeRecords::nodes() const {
  std::vector<std::string> nodes;
  std::error_code error;
  for (std::filesystem::directory_iterator at(directory_, error), end; !error && at != end;
       at.increment(error)) {
    auto name = at->path().filename().string();
    if (!name.ends_with(".json")) continue;
    name.resize(name.size() - 5);
    if (is_name(name)) nodes.push_back(name);
  }
  std::sort(nodes.begin(), nodes.end());
  return nodes;
}

std::string NodeRecords::pidfile_of(const std::string& node) const {
  const auto record = read(node);
  return record && !record->pidfile.empty() ? record->pidfile : runtime_dir_ + "/" + node + ".pid";
}

}  // namespace stem
