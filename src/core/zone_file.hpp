#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/zone_rule.hpp"

namespace stem {

/// The contents of a TZif file, as RFC 9636 has it: the changes of a zone's clocks that were or are foreseen,
/// and the rule for those that follow.
class ZoneFile {
 public:
  /// Reads version 2 and later. Throws Error (exit 65) for what is none, or is not whole.
  static ZoneFile parse(std::string_view bytes);

  /// The stretch that `time` lies in, cut to the years 1 to 9998.
  ZoneStretch at(WallTime time) const;

 private:
  ZoneStretch uncut(WallTime time) const;

  struct Change {
    std::int64_t at;  // seconds of the Unix epoch
    std::chrono::seconds offset;
  };
  std::chrono::seconds first_{};  // before all changes
  std::vector<Change> changes_;
  std::optional<ZoneRule> rule_;
};

}  // namespace stem
