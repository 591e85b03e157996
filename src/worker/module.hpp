#pragma once

#include <stem/task.hpp>
#include <string>

namespace stem {

/// Where the module that --app or STEM_WORKER_APP names is: a path with a slash in it is that file; a bare
/// name is looked for where modules are installed (`directory`; `pkg-config --variable=moduledir stem` names
/// it), and else is a file of the working directory.
std::string module_path(const std::string& name, const std::string& directory = {});

/// Loads the shared object `path`, found as module_path() says, for the life of the process (handlers are
/// code in it) and lets it register its tasks. Throws Error: 66 no such file; 78 not a shared object, no
/// registration function, another ABI version, or a task that is registered already. Call before other
/// threads run.
void load_module(const std::string& path, Registry& tasks);

}  // namespace stem
