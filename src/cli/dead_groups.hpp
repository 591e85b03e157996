#pragma once

#include <stem/json.hpp>
#include <stem/time.hpp>
#include <string>
#include <vector>

#include "storage/broker.hpp"

namespace stem::cli {

/// Dead letters that have something in common.
struct DeadGroup {
  std::string queue, task, reason;
  std::size_t count = 0;
  WallTime oldest{}, newest{};
};

/// Jobs of one queue, task and reason together; the largest group first.
std::vector<DeadGroup> dead_groups(const std::vector<DeadJob>& jobs);

/// One row a group, for people, and a line that sums up.
std::string dead_group_table(const std::vector<DeadGroup>& groups, WallTime now);
/// `dead oldest newest`, `queues[]`, `tasks[]` and `reasons[]` each with the same for one of them, and
/// `groups[]`.
Json to_json(const std::vector<DeadGroup>& groups);

}  // namespace stem::cli
