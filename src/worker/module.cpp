#include "worker/module.hpp"

#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stem/error.hpp>
#include <stem/module.hpp>

#include "worker/module_directory.hpp"

namespace stem {

std::string module_path(const std::string& name, const std::string& directory) {
  if (name.empty() || name.find('/') != std::string::npos) return name;
  // Installed modules first: the working directory of a service may be one that jobs write to.
  const auto installed = (directory.empty() ? std::string(module_directory) : directory) + "/" + name;
  return access(installed.c_str(), F_OK) == 0 ? installed : "./" + name;
}

void load_module(const std::string& path, Registry& tasks) {
  // Never a bare name to dlopen(), which would search along the library path.
  const std::string file = module_path(path);
  struct stat info;
  if (stat(file.c_str(), &info) != 0) {
    const int error = errno;
    const bool bare = path.find('/') == std::string::npos;
    throw Error(error == EACCES ? Exit::no_permission : Exit::no_input,
                "task module " + path +
                    (bare ? " (neither in " + std::string(module_directory) + " nor here)" : "") + ": " +
                    std::strerror(error) +
                    "; --app takes the path of a shared object, or the name of an installed one");
  }
  if (!S_ISREG(info.st_mode))
    throw Error(Exit::config,
                "task module " + path + " is not a file; --app takes the path of a shared object");

  // RTLD_NOW: a symbol that is missing is an error here, not in the middle of a job.
  void* module = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!module) throw Error(Exit::config, "cannot load task module " + path + ": " + dlerror());
  const auto* abi = static_cast<const int*>(dlsym(module, "stem_module_abi_version"));
  const auto enter = reinterpret_cast<void (*)(Registry&)>(dlsym(module, "stem_register_tasks"));
  if (!abi || !enter)
    throw Error(Exit::config, path +
                                  " is not a task module: it does not export stem_register_tasks; define it "
                                  "with STEM_MODULE (stem/module.hpp)");
  if (*abi != STEM_ABI_VERSION)
    throw Error(Exit::config, "task module " + path + " was built for ABI version " + std::to_string(*abi) +
                                  ", this stem has " + std::to_string(STEM_ABI_VERSION) +
                                  "; build it again with this version's headers");
  enter(tasks);
}

}  // namespace stem
