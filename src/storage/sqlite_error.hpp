#pragma once

#include <stem/error.hpp>
#include <stem/time.hpp>
#include <string>

struct sqlite3;

namespace stem {

/// The translation of the last error on this connection, to be thrown. `busy_timeout` is how long it has
/// waited for others.
Error sqlite_error(sqlite3* handle, const std::string& path, Duration busy_timeout);
/// Why the operating system would not give us the file: `cause` is an errno.
Error sqlite_file_error(const std::string& path, int cause);

}  // namespace stem
