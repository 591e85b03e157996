#pragma once

#include <functional>
#include <span>
#include <stem/task.hpp>

namespace files {

using Chunk = std::span<const unsigned char>;

/// Reads the regular file that `args.path` names, front to back, and hands each chunk to `take`. Tells how
/// far it is, and stops early once the job is cancelled. Empty = `take` has seen all of the file; else the
/// outcome of the attempt: Dead where another attempt would end the same way (no such file, a directory, no
/// permission, a bad argument), Retry for what may pass (an I/O error, too many open files, cancelled).
std::optional<stem::Outcome> read_content(stem::TaskContext& job, const std::function<void(Chunk)>& take);

}  // namespace files
