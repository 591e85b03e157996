// Where the worker keeps its files: is it there, whose is it, can the worker write, is there room.

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cstring>
#include <set>

#include "diagnosis/check.hpp"
#include "diagnosis/subject.hpp"

namespace stem {
namespace {

constexpr auto section = "DIRECTORIES";
constexpr std::uint64_t mebibyte = 1024 * 1024;
/// Below this a worker soon cannot write its log or its queue.
constexpr std::uint64_t too_little = 16 * mebibyte, little = 512 * mebibyte;

std::string parent_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == 0 || slash == path.npos ? "/" : path.substr(0, slash);
}

std::string make_command(const Subject& s, const std::string& path, const char* mode) {
  const auto name = s.account ? s.account->name : s.user;
  const auto group = s.account ? group_name(s.account->group) : name;
  return "as root: install -d -o " + name + " -g " + group + " -m " + mode + " " + path;
}

/// A directory that the worker must be able to write in. `made` = by whom it is made at the start, if it is
/// missing.
Finding directory(const Subject& s, const std::string& path, const char* mode, const std::string& made) {
  struct stat status {};
  const auto fix = make_command(s, path, mode);
  if (lstat(path.c_str(), &status) != 0) {
    if (errno != ENOENT) return Finding::error(path + ": " + std::strerror(errno), fix);
    if (s.running())
      return Finding::error(path + " is gone, though the worker runs",
                            "restart the worker; see RuntimeDirectoryPreserve= and whatever cleans up there");
    if (made.empty()) return Finding::error(path + " is missing", fix);
    if (made == "systemd") return Finding::ok(path + " is made by systemd at the start");
    auto above = parent_of(path);
    while (above != "/" && access(above.c_str(), F_OK) != 0) above = parent_of(above);
    if (s.account)
      if (const auto cannot = access_as(*s.account, above, W_OK | X_OK); cannot && *cannot)
        return Finding::error(path + " is missing, and " + s.account->name + " cannot make it: " + above +
                                  ": " + std::strerror(*cannot),
                              fix);
    return Finding::ok(path + " is made at the start");
  }
  if (stat(path.c_str(), &status) != 0)
    return Finding::error(path + ": a symbolic link that leads nowhere",
                          "remove the link, or make what it leads to");
  if (!S_ISDIR(status.st_mode))
    return Finding::error(path + " is not a directory", "move it away; it is made anew");
  if (!s.account) return Finding::skip(path + ": there is no user whose it could be");
  if (status.st_uid != s.account->user && status.st_uid != 0)
    return Finding::error(
        path + " belongs to " + user_name(status.st_uid) + ", and the worker runs as " + s.account->name,
        fix);
  if (status.st_mode & S_IWOTH && !(status.st_mode & S_ISVTX))
    return Finding::error(
        path + " can be written by everybody: whoever likes can put another pidfile, socket or queue there",
        "chmod o-w " + path);
  const auto cannot = access_as(*s.account, path, W_OK | X_OK);
  if (cannot && *cannot)
    return Finding::error(s.account->name + " cannot write in " + path + ": " + std::strerror(*cannot),
                          *cannot == EROFS ? "name a directory on a file system that can be written" : fix);
  return cannot
             ? Finding::ok(path)
             : Finding::skip("only root or " + s.account->name + " can tell whether it may write in " + path);
}

Finding runtime_directory(const Subject& s) {
  const bool by_systemd = s.under_systemd() && !s.unit->runtime_directories.empty();
  return directory(s, s.runtime_dir, "0755", by_systemd ? "systemd" : "stem");
}

Finding state_directory(const Subject& s) {
  if (s.state_dir.empty()) return Finding::skip("the unit names no state directory");
  return directory(s, s.state_dir, "2770", "systemd");
}

Finding working_directory(const Subject& s) {
  if (s.workdir.empty() || s.workdir == "~") return Finding::skip("none is named");
  struct stat status {};
  if (stat(s.workdir.c_str(), &status) != 0) {
    if (s.workdir == s.state_dir && !s.running())
      return Finding::ok(s.workdir + " is made by systemd at the start");
    return Finding::error("the working directory " + s.workdir + ": " + std::strerror(errno),
                          "make it, or change WorkingDirectory= or --workdir");
  }
  if (!S_ISDIR(status.st_mode))
    return Finding::error("the working directory " + s.workdir + " is not a directory",
                          "change WorkingDirectory= or --workdir");
  if (!s.account) return Finding::skip("there is no user who could enter it");
  const auto cannot = access_as(*s.account, s.workdir, X_OK);
  if (cannot && *cannot)
    return Finding::error(
        s.account->name + " cannot enter the working directory " + s.workdir + ": " + std::strerror(*cannot),
        "chmod a+x " + s.workdir + ", and the directories above it");
  return cannot ? Finding::ok(s.workdir)
                : Finding::skip("only root or " + s.account->name + " can tell whether it may enter " +
                                s.workdir);
}

Finding log_file(const Subject& s) {
  if (s.logfile.empty())
    return Finding::ok(s.under_systemd() ? "the log goes to the journal" : "the log goes to standard error");
  const auto& path = s.logfile;
  struct stat status {};
  if (lstat(path.c_str(), &status) != 0) {
    if (errno != ENOENT && errno != ENOTDIR)
      return Finding::error("the log file " + path + ": " + std::strerror(errno),
                            "run this as root, or name another file");
    if (s.running() && s.health.logfile == path)
      return Finding::warning(
          "the log file " + path + " is gone, and the worker writes where nobody looks",
          "`stem worker multi reload " + s.node + "`, or SIGHUP, makes it open the file anew");
    auto found = directory(s, parent_of(path), "0755", "stem");
    if (found.severity == Severity::ok && !found.skipped) found.text = path + " is made at the start";
    return found;
  }
  if (S_ISDIR(status.st_mode))
    return Finding::error("the log file " + path + " is a directory",
                          "name a file: --logfile, STEM_WORKER_LOGFILE");
  if (S_ISLNK(status.st_mode) && status.st_uid != 0 && s.account && status.st_uid != s.account->user)
    return Finding::error(
        "the log file " + path + " is a symbolic link that " + user_name(status.st_uid) + " made",
        "remove it");
  if (!s.account) return Finding::skip("there is no user who could write it");
  const auto cannot = access_as(*s.account, path, W_OK);
  if (cannot && *cannot)
    return Finding::error(
        s.account->name + " cannot write the log file " + path + ": " + std::strerror(*cannot),
        *cannot == EACCES
            ? "chown " + s.account->name + ": " + path + "; StandardOutput=append: makes such files, drop it"
            : "name another file");
  return cannot ? Finding::ok(path)
                : Finding::skip("only root or " + s.account->name + " can tell whether it may write " + path);
}

Finding disk_space(const Subject& s) {
  std::set<dev_t> seen;
  auto all = Finding::ok("");
  const auto mib = [](std::uint64_t bytes) { return std::to_string(bytes / mebibyte) + " MiB"; };
  std::string queue;
  if (s.config)
    if (const auto url = s.broker_url(); url.starts_with("sqlite:///"))
      queue = parent_of(url.substr(9, url.find('?') - 9));
  for (auto path :
       {s.state_dir, queue, s.logfile.empty() ? std::string() : parent_of(s.logfile), s.runtime_dir}) {
    struct stat status {};
    struct statvfs room {};
    while (path.size() > 1 && access(path.c_str(), F_OK) != 0) path = parent_of(path);
    if (path.empty() || stat(path.c_str(), &status) != 0 || !seen.insert(status.st_dev).second ||
        statvfs(path.c_str(), &room) != 0 || room.f_blocks == 0)
      continue;
    const auto left = static_cast<std::uint64_t>(room.f_bavail) * room.f_frsize,
               size = static_cast<std::uint64_t>(room.f_blocks) * room.f_frsize;
    const auto fix = "make room there: `du -x " + path + "` tells what takes it";
    if (left < std::min(too_little, size / 10))
      all.add(Finding::error("the file system of " + path + " is full: " + mib(left) + " left", fix));
    else if (room.f_files > 0 && room.f_favail == 0)
      all.add(Finding::error("the file system of " + path + " can hold no more files", fix));
    else if (left < std::min(little, size / 10))
      all.add(
          Finding::warning("the file system of " + path + " is nearly full: " + mib(left) + " left", fix));
    else
      all.add(Finding::ok(path + " has " + mib(left) + " left"));
  }
  return all;
}

bool is_below(const std::string& path, const std::string& directory) {
  return path == directory || path.starts_with(directory + "/");
}

/// Paths that exist for root at a terminal, and not for the worker in its sandbox.
Finding sandbox(const Subject& s) {
  if (!s.under_systemd() || !s.config)
    return Finding::skip("systemd does not run this node, or its configuration cannot be read");
  const auto& unit = *s.unit;
  auto all = Finding::ok("");
  const auto seen = [&](const std::string& what, const std::string& path) {
    if (!path.starts_with('/')) return;
    for (const char* home : {"/home", "/root", "/run/user"})
      if (is_below(path, home) && (unit.protect_home == "yes" || unit.protect_home == "tmpfs"))
        all.add(Finding::error(
            what + " " + path + " is hidden from the worker by ProtectHome=" + unit.protect_home,
            "move it out of " + std::string(home) + ", or show it with BindReadOnlyPaths= in a drop-in"));
    for (const char* temporary : {"/tmp", "/var/tmp"})
      if (is_below(path, temporary) && unit.private_tmp)
        all.add(Finding::error(what + " " + path + " is hidden from the worker by PrivateTmp=yes",
                               "move it out of " + std::string(temporary)));
  };
  const auto written = [&](const std::string& what, const std::string& path) {
    seen(what, path);
    if (unit.protect_system != "strict" || !path.starts_with('/')) return;
    std::vector<std::string> open{"/dev", "/proc", "/sys", "/tmp", "/var/tmp"};
    for (const auto& name : unit.state_directories) open.push_back("/var/lib/" + name);
    for (const auto& name : unit.logs_directories) open.push_back("/var/log/" + name);
    for (const auto& name : unit.runtime_directories) open.push_back("/run/" + name);
    for (const auto& more : unit.writable_paths)
      open.push_back(more.substr(std::min(more.find('/'), more.size())));
    for (const auto& directory : open)
      if (is_below(path, directory)) return;
    all.add(Finding::error(what + " " + path + " is read-only for the worker: ProtectSystem=strict",
                           "ReadWritePaths=" + parent_of(path) + " in a drop-in"));
  };
  seen("working directory", s.workdir);
  if (s.config->command.empty())
    for (const auto& module : s.config->apps) seen("task module", module);
  else if (s.config->command.starts_with('/'))
    seen("program", s.config->command.substr(0, s.config->command.find(' ')));
  written("log file", s.logfile);
  written("pidfile", s.pidfile);
  for (const auto& url : {s.config->broker_url, s.config->result_backend_url})
    if (url.starts_with("sqlite:///")) written("database", url.substr(9, url.find('?') - 9));
  if (all.text.empty()) all.text = "what the worker needs is in its sandbox";
  return all;
}

constexpr Check checks[] = {
    {"runtime-directory", section, runtime_directory}, {"state-directory", section, state_directory},
    {"working-directory", section, working_directory}, {"log-file", "LOG FILES", log_file},
    {"disk-space", "CLOCK AND DISK", disk_space},      {"sandbox", section, sandbox},
};

}  // namespace

std::span<const Check> directory_checks() {
  return checks;
}

}  // namespace stem
