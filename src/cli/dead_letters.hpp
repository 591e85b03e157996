#pragma once

#include <optional>
#include <span>
#include <stem/json.hpp>
#include <stem/signing.hpp>
#include <stem/time.hpp>
#include <string>
#include <vector>

#include "storage/broker.hpp"
#include "storage/store.hpp"

namespace stem::cli {

/// Which dead letters a command is about: those that match all that is given.
struct DeadFilter {
  std::vector<std::string> ids;
  std::string queue, task;        ///< empty = any
  std::optional<WallTime> since;  ///< died then, or later
  std::size_t limit = 0;          ///< the newest so many; 0 = all
};

/// Newest first. Throws Error: 66 for an id that is no dead letter's, and what it is instead; else as Broker
/// does.
std::vector<DeadJob> find_dead(Broker& broker, const DeadFilter& filter);

/// The task of a dead letter, or `?` if its envelope cannot be read.
std::string task_of(const DeadJob& job);

/// `1h` is an hour before `now`; or an ISO 8601 time. Throws Error (exit 64).
WallTime since_from(const std::string& text, WallTime now);

/// Why a dead letter must not be put back, since it would only end again; empty = it may be. `signer` may be
/// null.
std::optional<std::string> replay_fault(const DeadJob& job, const PayloadSigner* signer, WallTime now);

/// Throws away the records that say that these jobs have failed: whoever waits for one that is replayed waits
/// for what becomes of it now, and one that leaves no record of its success leaves none of the failure
/// before.
void forget_failures(Store& store, std::span<const std::string> ids);

/// One row a job, for people.
std::string dead_table(const std::vector<DeadJob>& jobs, WallTime now);
/// `id queue task attempt deadAt reason`; the whole of it also `meta envelope`.
Json to_json(const DeadJob& job, bool whole);

}  // namespace stem::cli
