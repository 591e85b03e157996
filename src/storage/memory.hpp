#pragma once

#include <string>

#include "storage/open.hpp"

namespace stem {

/// The broker and store called `name` in this process. They hold their contents until the
/// process ends, whoever has them open. `clock` must outlive the result.
Storage open_memory(const std::string& name, const Clock& clock);

}  // namespace stem
