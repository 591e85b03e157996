#pragma once

#include <string>

#include "storage/postgres_address.hpp"
#include "storage/server_watch.hpp"

namespace stem {

/// Listens on a channel of a PostgreSQL, on a connection of its own each time. Errors are those of
/// PostgresConnection.
ServerWatch::Subscribe postgres_subscription(PostgresAddress address, std::string channel);

}  // namespace stem
