#pragma once

#include <sys/types.h>
#include <cstdint>
#include <optional>
#include <stem/time.hpp>
#include <string>

namespace stem {

/// What /proc tells of a process. Empty if it has gone, or may not be looked at.

/// Since the process was made.
std::optional<Duration> process_age(pid_t pid);
/// The letter of proc(5): R S D running or asleep, T stopped, Z dead but not collected.
std::optional<char> process_letter(pid_t pid);
/// Bytes that its control group uses, if that is one of `unit`.
std::optional<std::uint64_t> unit_memory(pid_t pid, const std::string& unit);
/// Bytes resident, of this process alone.
std::optional<std::uint64_t> process_memory(pid_t pid);

}  // namespace stem
