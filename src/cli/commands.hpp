#pragma once

#include "cli/command.hpp"

/// One function a command, each in the file of its name.
namespace stem::cli {

using Work = std::function<int()>;

}  // namespace stem::cli
