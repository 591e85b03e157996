#pragma once

#include <memory>
#include <optional>
#include <stem/signing.hpp>
#include <string>

#include "core/routing.hpp"
#include "telemetry/tracer.hpp"

namespace stem {

/// What becomes of slots that were missed: `last` is for those whose like has not come since.
enum class CatchUp { none, last, all };

struct BeatOptions {
  std::string title = "scheduler";  ///< for people who ask who leads
  CatchUp catch_up = CatchUp::last;
  Duration grace = std::chrono::minutes{1};  ///< a slot that is later than this, and its jitter, was missed
  Duration lock_period = std::chrono::seconds{15};  ///< of the leader's lock; another takes over within two
  int default_max_retries = 3;
  Routing routing{};                      ///< where the jobs of a schedule go, beyond what it says itself
  std::optional<PayloadSigner> signer{};  ///< signs every job, if there is one
  std::shared_ptr<Tracer> tracer{};       ///< null = nothing is told to a collector; stays
};

}  // namespace stem
