#include "service/credentials.hpp"

#include <fcntl.h>

#include <cerrno>
#include <cstring>
#include <stem/error.hpp>

#include "core/descriptor.hpp"

namespace stem {
namespace {

constexpr std::size_t longest = 1024 * 1024;  // systemd's own bound for all credentials of a unit

}  // namespace

std::string read_credential(const std::string& path) {
  const auto refuse = [&](int error) {
    return Error(error == ENOENT                     ? Exit::no_input
                 : error == EACCES || error == EPERM ? Exit::no_permission
                                                     : Exit::config,
                 "cannot read credential " + path + ": " + std::strerror(error) +
                     (error == EACCES ? "; only the unit's own user may" : ""));
  };
  const Descriptor file(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!file) throw refuse(errno);
  std::string text;
  char block[4096];
  for (ssize_t count; (count = read(file.get(), block, sizeof block)) != 0;) {
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw refuse(errno);
    text.append(block, static_cast<std::size_t>(count));
    if (text.size() > longest)
      throw Error(Exit::config, "credential " + path + " is larger than 1 MiB; is it the right file?");
  }
  if (text.find('\0') != text.npos)
    throw Error(Exit::config, "credential " + path + " holds a NUL byte; write the value as text");
  if (text.ends_with('\n')) text.pop_back();
  if (text.ends_with('\r')) text.pop_back();
  return text;
}

Environment with_credentials(const Environment& environment) {
  auto all = environment;
  const auto directory = environment.find("CREDENTIALS_DIRECTORY");
  if (directory == environment.end() || !directory->second.starts_with('/')) return all;
  for (const auto& setting : settings()) {
    if (!setting.secret) continue;
    try {
      all[std::string(setting.name)] = read_credential(directory->second + "/" + setting.credential());
    } catch (const Error& error) {
      if (error.code() != Exit::no_input) throw;
    }
  }
  return all;
}

}  // namespace stem
