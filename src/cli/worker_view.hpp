#pragma once

#include <optional>
#include <stem/json.hpp>
#include <string>
#include <vector>

#include "worker/heartbeat.hpp"

namespace stem::cli {

/// What is told of workers: all that a heartbeat says, or also how quickly they get on.
enum class WorkerColumns { status, pace };

/// One row a heartbeat, for people.
std::string worker_table(const std::vector<Heartbeat>& beats, WorkerColumns columns, WallTime now);
/// One line, for a log: `2025-01-02T03:04:05.678Z  web-1  up 5m  2/8 busy …`.
std::string worker_line(const Heartbeat& beat, WallTime now);
/// The heartbeat, with `stale` and `ageMs`; of their pace also `donePerSecond` and `failedPerSecond`.
Json to_json(const Heartbeat& beat, WorkerColumns columns, WallTime now);

/// What to say of the workers of `beats`, of which `nodes` were asked for, or all: nobody lives, or who does
/// not.
std::string absence(const std::vector<Heartbeat>& beats, const std::vector<std::string>& nodes,
                    const std::string& name_space);
/// 0 if some live, none is late, and none of `nodes` is missing; else 1.
int status_of(const std::vector<Heartbeat>& beats, const std::vector<std::string>& nodes, WallTime now);

/// Jobs that ended well, and attempts that failed, a second, since the heartbeat before this; empty if that
/// was the first.
struct Pace {
  double done = 0, failed = 0;
};
std::optional<Pace> recent_pace(const Heartbeat& beat);
/// `0`, `3.2`, `1,284`, or `-` if it is not known.
std::string pace_cell(std::optional<double> a_second);

}  // namespace stem::cli
