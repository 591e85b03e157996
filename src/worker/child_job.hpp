#pragma once

#include <atomic>
#include <functional>
#include <stem/task.hpp>

#include "worker/child_frame.hpp"
#include "worker/leased_job.hpp"

namespace stem {

/// A job on its way into a child. `soft` is what is left until its soft time limit.
ChildFrame job_frame(const LeasedJob& job, std::optional<Duration> soft);

/// What a child says of an attempt; `memory` becomes the bytes that it has. Throws HandlerFailed for a
/// handler that threw, and Error 70 for what is no answer.
Outcome read_answer(const ChildFrame& frame, std::uint64_t& memory);

/// The life of a child: `enter`, then jobs from `socket` one after another on this thread until its other end
/// is closed. `cancelled` is written by another process.
[[noreturn]] void serve_jobs(const Registry& tasks, int socket, const std::atomic<bool>& cancelled,
                             const std::function<void()>& enter);

}  // namespace stem
