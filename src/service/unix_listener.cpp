#include "service/unix_listener.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "service/control_address.hpp"

namespace stem {
namespace {

/// Between a look at a file that nobody answers at and its removal, another process may have put its own
/// there. Those that make sockets of ours in one directory take turns; one that takes too long over it is not
/// waited for.
Descriptor turn_in(const std::string& path) {
  const auto slash = path.find_last_of('/');
  const auto parent = slash == path.npos ? std::string(".") : path.substr(0, slash + 1);
  Descriptor directory(open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (int i = 0; directory && i < 100 && flock(directory.get(), LOCK_EX | LOCK_NB) != 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds{10});
  return directory;
}

}  // namespace

UnixListener::UnixListener(std::string path, std::string what, Exit taken, std::string taken_advice)
    : path_(std::move(path)), what_(std::move(what)), taken_(taken), taken_advice_(std::move(taken_advice)) {
  struct stat old {};
  Descriptor turn;
  if (lstat(path_.c_str(), &old) == 0) {
    turn = turn_in(path_);
    clear_the_way();
  }
  socket_.reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket_) throw refuse(Exit::cannot_create, std::strerror(errno));
  {
    const ControlAddress address(path_);
    const auto mask = umask(0117);  // mode 0660 from birth
    const int error = bind(socket_.get(), address.get(), address.size()) == 0 ? 0 : errno;
    umask(mask);
    if (error)
      throw refuse(error == EACCES || error == EPERM ? Exit::no_permission
                   : error == EADDRINUSE             ? taken_
                                                     : Exit::cannot_create,
                   std::strerror(error));
  }
  struct stat status {};
  if (lstat(path_.c_str(), &status) == 0) device_ = status.st_dev, inode_ = status.st_ino;
  if (listen(socket_.get(), 128) != 0) throw refuse(Exit::cannot_create, std::strerror(errno));
}

UnixListener::~UnixListener() {
  struct stat status {};
  if (socket_ && lstat(path_.c_str(), &status) == 0 && status.st_dev == device_ && status.st_ino == inode_)
    unlink(path_.c_str());
}

Error UnixListener::refuse(Exit code, const std::string& why) const {
  return Error(code, "cannot listen at " + what_ + " " + path_ + ": " + why);
}

void UnixListener::clear_the_way() const {
  struct stat status {};
  if (lstat(path_.c_str(), &status) != 0) return;
  if (!S_ISSOCK(status.st_mode))
    throw refuse(Exit::no_permission, "something that is not a socket is in the way; remove it");
  if (status.st_uid != geteuid() && geteuid() != 0)
    throw refuse(Exit::no_permission, "a socket of another user (uid " + std::to_string(status.st_uid) +
                                          ") is in the way; name another place");
  const Descriptor probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const ControlAddress address(path_);
  if (connect(probe.get(), address.get(), address.size()) == 0 || errno == EAGAIN)
    throw refuse(taken_, taken_advice_);
  if (unlink(path_.c_str()) != 0 && errno != ENOENT) throw refuse(Exit::no_permission, std::strerror(errno));
}

}  // namespace stem
