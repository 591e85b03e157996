#include "service/directories.hpp"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <deque>
#include <filesystem>
#include <stem/error.hpp>

#include "core/descriptor.hpp"
#include "core/name.hpp"

namespace stem {
namespace {

constexpr int most_links = 40;

std::string user_name(uid_t user) {
  const auto* entry = getpwuid(user);
  return entry ? entry->pw_name : std::to_string(user);
}

std::string group_name(gid_t group) {
  const auto* entry = getgrgid(group);
  return entry ? entry->gr_name : std::to_string(group);
}

/// One call of make_directories(): where it stands, and what to tell if it can go no further.
class Walk {
 public:
  Walk(const std::string& path, const Owner& owner, bool is_private)
      : path_(path), owner_(owner), mode_(is_private ? 0750 : 0755) {}

  void run() {
    current_.reset(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!current_) fail("/", errno);
    struct stat root {};
    if (fstat(current_.get(), &root) != 0) fail("/", errno);
    // Root, or, in a user namespace without root (PrivateUsers=), the id that stands for everyone outside.
    system_ = root.st_uid;
    push(path_.starts_with('/') ? path_ : std::filesystem::current_path().string() + "/" + path_);
    while (!pending_.empty()) {
      auto name = std::move(pending_.front());
      pending_.pop_front();
      step(name);
    }
    check_usable();
  }

 private:
  void push(const std::string& path) {
    std::deque<std::string> parts;
    for (const auto& part : std::filesystem::path(path))
      if (!part.empty() && part != "." && part != "/") parts.push_back(part.string());
    pending_.insert(pending_.begin(), parts.begin(), parts.end());
  }

  void step(const std::string& name) {
    auto at = at_ + "/" + name;
    Descriptor next(openat(current_.get(), name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!next && errno == ENOENT) {
      next = make(name, at);
    } else if (!next) {
      fail(at, errno);
    } else {
      struct stat status {};
      if (fstat(next.get(), &status) != 0) fail(at, errno);
      if (S_ISLNK(status.st_mode)) {
        if (++links_ > most_links) fail(at, ELOOP);
        if (trusted(status)) {
          char target[PATH_MAX] = {};
          const auto length = readlinkat(next.get(), "", target, sizeof target - 1);
          if (length < 0) fail(at, errno);
          if (*target == '/') {
            current_.reset(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
            at_.clear();
          }
          push(target);
          return;
        }
        next.reset(openat(current_.get(), name.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
        if (!next || fstat(next.get(), &status) != 0) fail(at, errno);
        if (status.st_uid != owner_.user)
          throw Error(Exit::no_permission, "will not use directory " + path_ + ": " + at +
                                               " is a symbolic link to a place that belongs to " +
                                               user_name(status.st_uid) + ", not to " +
                                               user_name(owner_.user) +
                                               "; remove the link or name another directory");
      } else if (!S_ISDIR(status.st_mode)) {
        fail(at, ENOTDIR);
      }
    }
    current_ = std::move(next);
    at_ = std::move(at);
  }

  /// A link that only the system's owner can have made: it belongs to them, in a directory where no one else
  /// writes.
  bool trusted(const struct stat& link) const {
    struct stat directory {};
    if (link.st_uid != system_ || fstat(current_.get(), &directory) != 0) return false;
    return directory.st_uid == system_ &&
           (!(directory.st_mode & (S_IWGRP | S_IWOTH)) || directory.st_mode & S_ISVTX);
  }

  Descriptor make(const std::string& name, const std::string& at) {
    const auto mask = umask(0);
    const int error = mkdirat(current_.get(), name.c_str(), 0700) == 0 ? 0 : errno;
    umask(mask);
    if (error && error != EEXIST) fail(at, error);
    Descriptor made(openat(current_.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    struct stat status {};
    if (!made || fstat(made.get(), &status) != 0) fail(at, errno);
    // Whoever may rename in the parent may have put something else here meanwhile: own only what is fresh and
    // empty.
    const bool fresh = status.st_uid == geteuid() && (status.st_mode & 0777) == 0700 && status.st_nlink <= 2;
    if (!fresh) return made;
    if ((status.st_uid != owner_.user || status.st_gid != owner_.group) && geteuid() == 0 &&
        fchown(made.get(), owner_.user, owner_.group) != 0)
      fail(at, errno);
    if (fchmod(made.get(), mode_) != 0) fail(at, errno);
    return made;
  }

  void check_usable() const {
    struct stat status {};
    if (fstat(current_.get(), &status) != 0) fail(path_, errno);
    if (status.st_uid != owner_.user && status.st_uid != system_ && status.st_uid != 0)
      throw Error(Exit::no_permission, "will not use directory " + path_ + ": it belongs to " +
                                           user_name(status.st_uid) + ", not to " + user_name(owner_.user) +
                                           "; name another directory, or run the worker as " +
                                           user_name(status.st_uid));
    if (owner_.user == geteuid()) {
      if (faccessat(current_.get(), ".", W_OK | X_OK, AT_EACCESS) != 0) fail(path_, errno);
      return;
    }
    const auto shift = status.st_uid == owner_.user ? 6 : status.st_gid == owner_.group ? 3 : 0;
    if (owner_.user != 0 && ((status.st_mode >> shift) & 03) != 03) fail(path_, EACCES);
  }

  std::string remedy() const {
    return "as root: install -d -o " + user_name(owner_.user) + " -g " + group_name(owner_.group) +
           (mode_ == 0750 ? " -m 0750 " : " -m 0755 ") + path_;
  }

  [[noreturn]] void fail(const std::string& at, int error) const {
    const bool permission = error == EACCES || error == EPERM;
    std::string message = "cannot use directory " + path_ + ": ";
    if (at != path_) message += at + ": ";
    message += std::strerror(error);
    if (permission) {
      message += " for " + user_name(owner_.user) + "; " + remedy();
    } else if (error == EROFS) {
      message += "; name a directory on a file system that can be written";
    } else if (error == ENOTDIR || error == ELOOP) {
      message += "; move it away or name another directory";
    } else if (error == ENOSPC || error == EDQUOT) {
      message += "; make room";
    }
    throw Error(permission ? Exit::no_permission : Exit::cannot_create, message);
  }

  const std::string& path_;
  const Owner& owner_;
  const mode_t mode_;
  uid_t system_ = 0;
  Descriptor current_;
  std::string at_;
  std::deque<std::string> pending_;
  int links_ = 0;
};

}  // namespace

Owner Owner::self() {
  return {geteuid(), getegid()};
}

Owner Owner::named(const std::string& user, const std::string& group) {
  const auto* account = getpwnam(user.c_str());
  if (!account)
    throw Error(Exit::config,
                "there is no user `" + printable(user) + "` on this machine; create it or name another");
  Owner owner{account->pw_uid, account->pw_gid};
  if (group.empty()) return owner;
  const auto* entry = getgrnam(group.c_str());
  if (!entry)
    throw Error(Exit::config,
                "there is no group `" + printable(group) + "` on this machine; create it or name another");
  owner.group = entry->gr_gid;
  return owner;
}

void make_directories(const std::string& path, const Owner& owner, bool is_private) {
  if (path.empty() || path.find('\0') != path.npos)
    throw Error(Exit::config, "an empty path for a directory, or one with a NUL byte; name one");
  Walk(path, owner, is_private).run();
}

void make_parent_directories(const std::string& file, const Owner& owner, bool is_private) {
  const auto slash = file.find_last_of('/');
  make_directories(slash == file.npos ? "." : slash == 0 ? "/" : file.substr(0, slash), owner, is_private);
}

std::string runtime_dir(const Config& config, const Environment& environment) {
  const auto variable = [&](const char* name) {
    const auto found = environment.find(name);
    return found == environment.end() ? std::string() : found->second;
  };
  if (!config.runtime_dir.empty()) return config.runtime_dir;
  if (const auto list = variable("RUNTIME_DIRECTORY"); list.starts_with('/'))
    return list.substr(0, list.find(':'));
  if (geteuid() == 0) return "/run/stem";
  if (const auto home = variable("XDG_RUNTIME_DIR"); home.starts_with('/')) return home + "/stem";

  auto path = "/tmp/stem-" + std::to_string(geteuid());
  struct stat status {};
  if (lstat(path.c_str(), &status) == 0 &&
      (!S_ISDIR(status.st_mode) || status.st_uid != geteuid() || status.st_mode & (S_IWGRP | S_IWOTH)))
    throw Error(Exit::no_permission, "will not use " + path + ": it is not a directory that is ours alone; " +
                                         "remove it, or set XDG_RUNTIME_DIR or STEM_RUNTIME_DIR");
  return path;
}

}  // namespace stem
