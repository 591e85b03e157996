#include "service/control_address.hpp"

#include <fcntl.h>

#include <cerrno>
#include <cstring>
#include <stem/error.hpp>

#include "service/control_socket.hpp"

namespace stem {

std::string control_socket_path(const std::string& runtime_dir, const std::string& node) {
  if (node.size() <= 80) return runtime_dir + "/" + node + ".sock";
  std::uint64_t hash = 14695981039346656037u;  // FNV-1a: the same in every release
  for (const char c : node) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(hash));
  return runtime_dir + "/" + node.substr(0, 60) + "-" + digits + ".sock";
}

ControlAddress::ControlAddress(const std::string& path) {
  address_.sun_family = AF_UNIX;
  auto name = path;
  if (name.size() >= sizeof address_.sun_path) {
    const auto slash = path.find_last_of('/');
    const auto parent = slash == path.npos ? std::string(".") : path.substr(0, slash + 1);
    directory_.reset(open(parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!directory_)
      throw Error(Exit::unavailable,
                  "no worker answers at " + path + ": " + std::strerror(errno) + "; is the node started?");
    name = "/proc/self/fd/" + std::to_string(directory_.get()) + "/" + path.substr(slash + 1);
  }
  if (name.size() >= sizeof address_.sun_path)
    throw Error(Exit::config, "the name of socket " + path + " is too long; use a shorter one");
  std::memcpy(address_.sun_path, name.data(), name.size());
}

}  // namespace stem
