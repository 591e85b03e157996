#pragma once

#include <cstddef>

namespace stem {

/// Unmaps the program text that has been touched so far, in the program and its libraries: of what the start
/// needs (options, configuration, dynamic linking) a service that waits for work needs little again. What is
/// needed comes back from the page cache, a page fault for each 64 KiB. Mappings with pages of their own,
/// such as a debugger's breakpoints or uprobes make, are left alone. Returns the bytes that were mapped and
/// are not any more; 0 where /proc/self/smaps cannot be read. Costs about a millisecond.
std::size_t unmap_start_text();

}  // namespace stem
