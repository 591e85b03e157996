#pragma once

#include <sys/types.h>
#include <optional>
#include <string>

namespace stem {

/// A pidfile, held for the life of the worker by a write lock (an open-file-description lock: it goes with
/// the process, however that ends). Whether a worker lives is decided by the lock, never by the number in the
/// file.
class Pidfile {
 public:
  /// Opens or creates `path` (mode 0644) and takes the lock; the file is empty then. Throws Error: 75 another
  /// worker holds it (with its pid), 73 cannot be created, 77 permission, or a symbolic link, a directory,
  /// someone else's file or something that is not a pidfile.
  explicit Pidfile(std::string path);
  /// Removes the file, if it is still the one we locked, then lets go of the lock.
  ~Pidfile();
  Pidfile(const Pidfile&) = delete;
  Pidfile& operator=(const Pidfile&) = delete;

  /// Writes this process's id. Before READY=1: systemd may read it from then on. Throws Error 73.
  void write();
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int fd_ = -1;
};

/// What stands at a pidfile's path.
struct PidfileState {
  enum class Kind {
    missing,    ///< nothing is there
    stale,      ///< a file that nobody holds: the worker has ended
    starting,   ///< held, but no pid is written yet
    live,       ///< held; `pid` is the worker
    foreign,    ///< a symbolic link, a directory, or a file that holds something other than a pid
    forbidden,  ///< we may not look
  };
  Kind kind = Kind::missing;
  pid_t pid =
      0;  ///< live: the worker; stale: what the file says, which means nothing any more; 0 = no number
  std::string detail;  ///< foreign, forbidden: what is wrong, for a message

  bool running() const { return kind == Kind::live || kind == Kind::starting; }
};

/// Looks without touching. Never throws for what it finds.
PidfileState read_pidfile(const std::string& path);

/// Removes a pidfile that its dead worker left, and says whether it did. It must hold a number or nothing, be
/// held by nobody, and be ours; root also removes that of a user from a directory of that very user. All else
/// is let be. Never throws.
bool remove_stale_pidfile(const std::string& path);

/// The worker that holds a pidfile, as a handle that cannot come to mean another process.
class PidfileHolder {
 public:
  /// Empty if nobody holds the file. The process is proved to be the holder: it has this very file open with
  /// the lock on it, as /proc shows, so a forged number leads nowhere. Throws Error: 77 we may not look into
  /// or signal that process, 70 the holder is not the process that the file names (another pid namespace, or
  /// a forgery).
  static std::optional<PidfileHolder> open(const std::string& path);
  PidfileHolder(PidfileHolder&& other) noexcept;
  PidfileHolder& operator=(PidfileHolder&& other) noexcept;
  ~PidfileHolder();

  pid_t pid() const { return pid_; }
  /// Polls readable when the process has ended.
  int fd() const { return fd_; }
  /// False if it has ended already. Throws Error 77.
  bool signal(int number) const;
  /// Signals the whole process group of it if it leads one, or if whoever made the group as a session of its
  /// own has gone (a daemon forked twice); else the process alone. False if it has ended already.
  bool signal_group(int number) const;
  /// True once it has ended; waits up to `timeout_ms`.
  bool wait(int timeout_ms) const;

 private:
  PidfileHolder(pid_t pid, int fd) : pid_(pid), fd_(fd) {}
  pid_t pid_ = 0;
  int fd_ = -1;
};

}  // namespace stem
