#include "core/sampler.hpp"

namespace stem {

Sampler::Sampler(const std::string& name, double share)
    : parent_decides_(name.starts_with("parentbased_")), bound_(0), all_(name.ends_with("always_on")) {
  if (!name.ends_with("traceidratio")) return;
  all_ = share >= 1.0;
  // Of 2^63, as other SDKs have it: a double holds the product exactly enough, and never more than fits.
  if (!all_ && share > 0) bound_ = static_cast<std::uint64_t>(share * 9223372036854775808.0);
}

bool Sampler::samples(const TraceId& id, const std::optional<TraceContext>& parent) const {
  if (parent_decides_ && parent) return parent->sampled;
  if (all_) return true;
  std::uint64_t number = 0;
  for (std::size_t i = 8; i < id.size(); ++i) number = number << 8 | id[i];
  return (number >> 1) < bound_;
}

}  // namespace stem
