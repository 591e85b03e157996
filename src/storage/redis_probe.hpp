#pragma once

#include <sys/socket.h>

namespace stem {

/// What listens there, found out on a connection of its own: neither kind of server says that it expects the
/// other language. Both ask once, send nothing secret, and take half a second at the most; false also if that
/// does not do.
bool speaks_redis(const sockaddr_storage& server, socklen_t size);
bool speaks_tls(const sockaddr_storage& server, socklen_t size);

}  // namespace stem
