#pragma once

#include <optional>

#include "core/descriptor.hpp"
#include "service/pidfile.hpp"
#include "supervisor/node_record.hpp"
#include "supervisor/supervisor.hpp"

namespace stem {

/// One node of the fallback on its way down: SIGTERM, then, when its time is up, SIGKILL to its process
/// group. It is locked for as long as this lives.
class StoppingNode {
 public:
  /// Asks it to stop. Never throws: what goes wrong is in outcome().
  StoppingNode(const NodeRecords& records, const std::string& node, const ActionSettings& settings);

  /// Polls readable when the process has ended; -1 once outcome() is there.
  int fd() const { return holder_ ? holder_->fd() : -1; }
  SteadyTime deadline() const { return deadline_; }
  const NodeOutcome& outcome() const { return outcome_; }

  /// fd() polls readable.
  void finish();
  /// deadline() has passed.
  void insist();

 private:
  void fail(Exit code, const std::string& message);
  void took();

  NodeOutcome outcome_;
  SteadyTime began_ = std::chrono::steady_clock::now(), deadline_;
  Duration patience_;
  Descriptor lock_;
  std::string pidfile_;
  std::optional<PidfileHolder> holder_;
  bool killed_ = false;
};

}  // namespace stem
