#pragma once

#include <optional>

#include "core/descriptor.hpp"
#include "supervisor/detached_settings.hpp"
#include "supervisor/launch.hpp"
#include "supervisor/node_record.hpp"
#include "supervisor/supervisor.hpp"

namespace stem {

/// One node of the fallback on its way up, until its worker is ready. It is locked for as long as this lives.
class StartingNode {
 public:
  /// Records the node and launches it, unless it runs. Never throws: what goes wrong is in outcome().
  StartingNode(const DetachedSettings& settings, const NodeRecords& records, const NodeRequest& request,
               const ActionSettings& action);

  /// Polls readable when there is something to finish(); -1 once outcome() is there.
  int fd() const { return launch_ ? launch_->fd() : -1; }
  const NodeOutcome& outcome() const { return outcome_; }

  /// fd() polls readable.
  void finish();
  /// After finish(): others may act on this node, although the start of more goes on.
  void let_go();

 private:
  void begin(const NodeRequest& request, const ActionSettings& action);
  NodeRecord plan(const NodeRequest& request, bool reset) const;
  LaunchOrder order(Duration timeout) const;
  void make_log(const Owner& owner);
  void make_state_dir(const Owner& owner);
  void fail(Exit code, const std::string& message);
  void took();

  const DetachedSettings& settings_;
  const NodeRecords& records_;
  NodeOutcome outcome_;
  SteadyTime began_ = std::chrono::steady_clock::now();
  Descriptor lock_;
  NodeRecord record_;
  off_t log_size_ = 0;
  std::optional<Launch> launch_;
};

}  // namespace stem
