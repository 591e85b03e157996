#pragma once

#include "storage/postgres_connection.hpp"

namespace stem::postgres {

// What is said to the server. Parameters are told beside each statement in the source; times are
// microseconds.

extern const PostgresStatement begin, commit, rollback, notify, notify_broadcast, notify_if_added,
    scan_freely;
extern const PostgresStatement mark, look_up_mark, forget_marks;
extern const PostgresStatement publish, acknowledge, settle, promote, lease_of_one, lease_of_many, renew;
extern const PostgresStatement end_session, count_held, release_token;
extern const PostgresStatement next_due, find, depths, dead_letters, replay, purge;
extern const PostgresStatement say, sweep_messages, end_of_messages, hear;
extern const PostgresStatement guard, guard_absent, get, put, set_if_absent, set_if_version, erase, list,
    sweep;

/// How many rows that write entries one statement may have: versions are given out in steps of 1024.
constexpr std::size_t most_entries = 1000;

}  // namespace stem::postgres
