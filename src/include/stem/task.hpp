#pragma once

#include <concepts>
#include <functional>
#include <map>
#include <optional>
#include <stem/job.hpp>
#include <stem/json.hpp>
#include <stem/rate_limit.hpp>
#include <stem/result.hpp>
#include <stem/retry_policy.hpp>
#include <stem/time.hpp>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

namespace spdlog {
class logger;
}

namespace stem {

/// The attempt ended well, with this value.
struct Done {
  Json value;
};
/// Run again after `delay` (the retry policy's own if absent). Counts as an attempt.
struct Retry {
  std::string reason;
  std::optional<Duration> delay{};
};
/// Never again: to the dead-letter queue, with the reason.
struct Dead {
  std::string reason;
};
/// Back to the queue for another worker, now or after `delay`. Does not count as an attempt.
struct PutBack {
  Duration delay{};
};

/// What a handler says of its attempt. An exception that leaves a handler is a Retry with its message.
using Outcome = std::variant<Done, Retry, Dead, PutBack>;

/// Handed to a handler for one attempt; valid until the handler returns, on the handler's thread only, but
/// for cancelled(), which threads started by the handler may also call.
class TaskContext {
 public:
  virtual ~TaskContext() = default;

  virtual const std::string& id() const = 0;
  virtual const std::string& task() const = 0;
  virtual const std::string& queue() const = 0;
  virtual int attempt() const = 0;  ///< from 0: how many attempts were finished before
  virtual int max_retries() const = 0;
  virtual const Json& args() const = 0;
  virtual const std::map<std::string, std::string>& headers() const = 0;

  /// What became of the job that this one was enqueued after: of a chain's link the link before, of an
  /// `on_failure` job the one that failed. Null for all others.
  virtual const Result* previous() const = 0;
  /// Of a chord's callback: what the members returned, in their order. Empty for all others.
  virtual const std::vector<Json>& chord_results() const = 0;

  /// Writes to the worker's log, marked with this job (journal fields STEM_TASK_ID and so on).
  virtual spdlog::logger& log() = 0;
  /// "Still at it": renews the lease now. The worker renews it anyway while the handler runs; call this
  /// before a step during which the whole process may be held up. Does not wait for the broker.
  virtual void heartbeat() = 0;
  /// Asks the broker to hold the job for at least `length` from now, even if this process stops renewing.
  virtual void extend_lease(Duration length) = 0;
  /// How far the job is, 0 to 1, and a note; kept in the job's record at most once a second.
  virtual void progress(double fraction, const std::string& note = {}) = 0;
  /// True once the handler should return soon: its soft time limit has passed, the worker is being stopped,
  /// the job was revoked, or the lease was lost and another worker has the job.
  virtual bool cancelled() const = 0;

  /// The headers `traceparent` and `tracestate` (W3C Trace Context) of this attempt, for calls that the
  /// handler makes to other services; empty if the job belongs to no trace. Jobs that it enqueues on its own
  /// thread get theirs without this.
  virtual std::map<std::string, std::string> trace_headers() const { return {}; }
};

/// How attempts of one task are run. A producer may ask for other retries; time limits and rates are the
/// worker's.
struct TaskOptions {
  std::string description{};
  std::optional<int> max_retries{};           ///< default: STEM_DEFAULT_MAX_RETRIES
  std::optional<RetryPolicy> retry{};         ///< default: the configuration's
  std::optional<Duration> soft_time_limit{};  ///< then cancelled() turns true; 0 = none
  std::optional<Duration>
      hard_time_limit{};  ///< then the attempt has failed, whatever the handler does; 0 = none
  /// How many may begin in a time, on all workers together. A job whose turn has not come waits in its queue.
  std::optional<RateLimit> rate_limit{};
  // Where the producer asks for nothing else:
  std::optional<Duration> expires{};     ///< as in EnqueueOptions
  std::optional<Duration> result_ttl{};  ///< default: STEM_RESULT_TTL
  bool ignore_result = false;            ///< no record is kept of a success
  std::optional<Duration> unique_for{};  ///< for producers that know the task: Stem::know()
  UniqueUntil unique_until = UniqueUntil::ended;
};

using Handler = std::function<Outcome(TaskContext&)>;

/// The tasks that a worker can run, by name. Filled before the worker starts, read-only afterwards.
class Registry {
 public:
  struct Task {
    std::string name;
    Handler handler;
    TaskOptions options;
  };

  /// Adds a task. `call` takes a TaskContext& and returns nothing, an Outcome or one of its four cases, or
  /// anything nlohmann::json can hold, which becomes the result. It runs on several threads at once. Throws
  /// Error (exit 78) if the name is taken or is not a task name ([A-Za-z0-9][A-Za-z0-9_.:-]*, at most 128).
  template <std::invocable<TaskContext&> Call>
  void add(const std::string& name, Call call, const TaskOptions& options = {}) {
    add_handler(name, wrap(std::move(call)), options);
  }

  void add_handler(const std::string& name, Handler handler, const TaskOptions& options);

  const Task* find(std::string_view name) const;
  /// Sorted by name.
  std::vector<const Task*> all() const;

 private:
  template <class Call>
  static Handler wrap(Call call) {
    using Returned = std::invoke_result_t<Call&, TaskContext&>;
    if constexpr (std::is_void_v<Returned>) {
      return [call = std::move(call)](TaskContext& job) mutable -> Outcome { return call(job), Done{}; };
    } else if constexpr (std::is_convertible_v<Returned, Outcome> && !std::is_same_v<Returned, Json>) {
      return [call = std::move(call)](TaskContext& job) mutable -> Outcome { return call(job); };
    } else {
      return [call = std::move(call)](TaskContext& job) mutable -> Outcome { return Done{Json(call(job))}; };
    }
  }

  std::map<std::string, Task, std::less<>> tasks_;
};

}  // namespace stem
