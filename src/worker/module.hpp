#pragma once

#include <stem/task.hpp>
#include <string>

namespace stem {

/// Loads the shared object `path` for the life of the process (handlers are code in it) and lets it register
/// its tasks. Throws Error: 66 no such file; 78 not a shared object, no registration function, another ABI
/// version, or a task that is registered already. Call before other threads run.
void load_module(const std::string& path, Registry& tasks);

}  // namespace stem
