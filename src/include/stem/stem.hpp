#pragma once

#include <memory>
#include <optional>
#include <stem/config.hpp>
#include <stem/envelope.hpp>
#include <stem/error.hpp>
#include <stem/result.hpp>
#include <stem/signing.hpp>
#include <stem/task.hpp>
#include <string>
#include <vector>

namespace stem {

/// What a producer may ask of one job, beyond its arguments.
struct EnqueueOptions {
  std::string id{};                    ///< empty = a new sortable id; one that is queued already is enqueued once
  std::string queue{};                 ///< empty = the default queue; the routing file may send the job elsewhere
  int priority = 0;                    ///< 0 to 9; 9 first
  std::optional<Duration> delay{};     ///< not before now + delay
  std::optional<WallTime> eta{};       ///< not before; wins over delay
  std::optional<int> max_retries{};    ///< default: STEM_DEFAULT_MAX_RETRIES
  std::map<std::string, std::string> headers{};
};

/// A job to be enqueued together with others.
struct Job {
  std::string task;
  Json args = Json::object();
  EnqueueOptions options = {};
};

/// The producer's side: puts jobs into the broker and reads their results. Thread-safe; one a process is enough.
class Stem {
 public:
  /// Opens broker and result backend. Throws Error: 69 unreachable, 73 cannot create, 77 permission, 78 configuration.
  /// Jobs are signed if the configuration says so.
  explicit Stem(const Config& config);
  /// Signs with `signer` instead, or not at all if there is none.
  Stem(const Config& config, std::optional<PayloadSigner> signer);
  ~Stem();
  Stem(Stem&&) noexcept;
  Stem& operator=(Stem&&) noexcept;

  /// Returns the job's id once the broker has it for good. `args` is a JSON object. Throws Error: 64 bad name, queue
  /// or priority; 69 broker unreachable; 78 configured to sign, and not able to: nothing is enqueued unsigned.
  std::string enqueue(const std::string& task, Json args = Json::object(), const EnqueueOptions& options = {});
  /// All or none, in one round trip; those that the routing file sends to a broadcast channel follow one by one.
  std::vector<std::string> enqueue(const std::vector<Job>& jobs);

  /// What is known of a job now; empty if it was never enqueued or its record has expired.
  std::optional<Result> result(const std::string& id);
  /// Blocks until the job has ended or `timeout` has passed; then what is known. Wakes by notification, not polling.
  std::optional<Result> wait(const std::string& id, Duration timeout);

 private:
  struct Connections;
  std::unique_ptr<Connections> connections_;
};

}  // namespace stem
