#pragma once

#include <string>
#include <vector>

#include "supervisor/supervisor.hpp"

namespace stem::cli {

/// Lines that change in place at a terminal: `web-1  starting…` becomes `web-1  running, pid 123 (0.3s)`.
/// Elsewhere each line is written once, when its node has ended.
class MultiProgress : public ActionWatcher {
 public:
  MultiProgress(const std::vector<std::string>& nodes, Verb verb, bool rolling, bool silent);
  void began() override;
  void ended(const NodeOutcome& outcome) override;

 private:
  const std::vector<std::string>& nodes_;
  Verb verb_;
  bool silent_, in_place_ = false, shown_ = false;
  std::size_t columns_ = 0;
  std::string waiting_;
};

}  // namespace stem::cli
