#pragma once

#include <sys/socket.h>

#include <optional>
#include <stem/time.hpp>
#include <string>

#include "storage/postgres_trust.hpp"
#include "storage/tls_look.hpp"

namespace stem {

/// Asks the server at an address for TLS and shakes hands, on a connection of its own that logs nobody in:
/// libpq does not tell what it saw, nor enough of what went wrong. `host` as the server's certificate should
/// have it. With `to_the_end` it also waits a moment for the server to refuse our certificate, which it may
/// do after the handshake. Empty if it came to nothing for other reasons than TLS, or not within `patience`.
/// Throws Error: what TlsContext finds wrong with our files, tls_fault(), or 78 for a server without TLS.
std::optional<TlsLook> shake_hands_with_postgres(const sockaddr_storage& server, socklen_t size,
                                                 const std::string& host, const PostgresTrust& trust,
                                                 Duration patience, bool to_the_end);

}  // namespace stem
