#pragma once

#include <string>

#include "storage/open.hpp"
#include "worker/leased_job.hpp"

namespace stem {

/// What a job that was enqueued by the end of others reads of them, out of the store. Thread-safe; waits for
/// the store.
class JobInputs {
 public:
  explicit JobInputs(const Storage& storage)
      : storage_(storage), bound_(storage.broker->publishes_with(*storage.results)) {}

  /// Sets `job.previous` and `job.chord_results`, where its envelope asks for them. Returns what is missing,
  /// as one clause, if that is forgotten. Throws Error as Store does.
  std::string read(LeasedJob& job) const;

  /// Whether the job has succeeded before, and was enqueued again: where broker and store are two systems, by
  /// who could not know. Throws Error as Store does.
  bool repeats(const LeasedJob& job) const;

 private:
  const Storage& storage_;
  const bool bound_;  ///< what is remembered of a publication is one commit with it
};

}  // namespace stem
