#pragma once

#include <sys/resource.h>

#include "worker/fork_server.hpp"

namespace stem {

/// The server's own process, from its fork to its end. One thread. It ends when nobody holds the other end of
/// `socket`, or `parent` is gone, and its children with it. They get the limit of `descriptors`.
[[noreturn]] void run_fork_server(int socket, const Registry& tasks, const ForkServer::Settings& settings,
                                  ChildBoard& board, const rlimit& descriptors, pid_t parent);

}  // namespace stem
