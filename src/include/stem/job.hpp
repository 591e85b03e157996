#pragma once

#include <map>
#include <optional>
#include <stem/json.hpp>
#include <stem/retry_policy.hpp>
#include <stem/time.hpp>
#include <string>
#include <vector>

namespace stem {

struct Job;

/// How long a unique job keeps others of its key away.
enum class UniqueUntil {
  ended,   ///< until it has ended, and for `unique_for` at most
  window,  ///< for the whole of `unique_for`, also after it has ended
};

/// What a producer may ask of one job, beyond its arguments.
struct EnqueueOptions {
  std::string id{};     ///< empty = a new sortable id; one that is queued already is enqueued once
  std::string queue{};  ///< empty = the default queue; the routing file may send the job elsewhere
  int priority = 0;     ///< 0 to 9; 9 first
  std::optional<Duration> delay{};   ///< not before now + delay
  std::optional<WallTime> eta{};     ///< not before; wins over delay
  std::optional<int> max_retries{};  ///< default: the task's own, else STEM_DEFAULT_MAX_RETRIES
  std::map<std::string, std::string>
      headers{};  ///< `traceparent` among them: the job belongs to that trace (docs/tracing.md)

  std::optional<RetryPolicy> retry{};  ///< when failed attempts are tried again; default: the task's own
  /// Not begun later than this after its earliest start: then it is cancelled.
  std::optional<Duration> expires{};
  std::optional<WallTime> expires_at{};  ///< the same as an instant; wins over `expires`
  /// How long its record is kept; default: the task's own, else STEM_RESULT_TTL.
  std::optional<Duration> result_ttl{};
  bool ignore_result = false;  ///< no record is kept of a success; then nobody can wait for it

  /// Above 0: at most one job of the key from its earliest start on for this long. Another that is enqueued
  /// meanwhile is not; whoever tries gets the id of the first.
  std::optional<Duration> unique_for{};
  /// Within the task; 1 to 128 printable characters; empty = a hash of the arguments.
  std::string unique_key{};
  UniqueUntil unique_until = UniqueUntil::ended;

  /// Enqueued once this job has succeeded, or has failed or was cancelled. Each can read the result:
  /// TaskContext::previous(). They are made, routed and signed together with this job; delays count from
  /// then, too.
#ifdef __clang__  // which takes a complete Job for `{}`; without it, GCC warns where these are left out
  std::vector<Job> then, on_failure;
#else
  std::vector<Job> then{}, on_failure{};
#endif
};

/// A job to be enqueued.
struct Job {
  std::string task;
  Json args = Json::object();  ///< an object; null is an empty one
  EnqueueOptions options = {};
};

/// What became of a request to enqueue.
struct Enqueued {
  std::string id;          ///< of the job that runs
  bool duplicate = false;  ///< another job of the same unique key was there before; its id is `id`
};

}  // namespace stem
