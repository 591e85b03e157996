#pragma once

#include <stem/job.hpp>
#include <string>
#include <vector>

namespace stem {

// Jobs that belong together. Each is enqueued with Stem::enqueue() as a whole or not at all, and its books
// are kept by the workers, so that the producer may go. Members and links take all options but `unique_for`,
// and go into queues, not to broadcast channels. A canvas is to be over within 7 days: its books are not kept
// for longer. See docs/canvas.md.

/// Jobs one after the other. Each begins when the one before has succeeded, and reads its result:
/// TaskContext::previous(). When one fails or is cancelled, the rest is cancelled.
struct Chain {
  std::vector<Job> links;  ///< 1 to 100

  struct Ids {
    std::string id;                  ///< of the chain, in the links' header `stem-chain-id`
    std::vector<std::string> links;  ///< of the jobs; to wait for the chain, wait for the last
  };
};

/// Jobs that run independently, and can be waited for as one: Stem::wait() with the group's id. The group has
/// succeeded when all members have, and failed when all have ended and one has not succeeded. Its value is
/// `{"total": N, "succeeded": N, "failed": N}`.
struct Group {
  std::vector<Job> members;  ///< at least 1

  struct Ids {
    std::string id;
    std::vector<std::string> members;
  };
};

/// A group, and a job that is enqueued once, when all members have succeeded, and reads what they returned:
/// TaskContext::chord_results(). If a member fails or is cancelled, the callback is not run: when all have
/// ended, its record says so, and its `on_failure` jobs are enqueued.
struct Chord {
  std::vector<Job> members;  ///< at least 1
  Job callback;

  struct Ids {
    std::string id;  ///< as a group's
    std::vector<std::string> members;
    std::string callback;  ///< to wait for the chord, wait for this
  };
};

}  // namespace stem
