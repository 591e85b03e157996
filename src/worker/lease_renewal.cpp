#include "worker/lease_renewal.hpp"

#include <algorithm>
#include <set>

namespace stem {

void LeaseRenewal::turn() {
  std::vector<Receipt> lost;
  if (clock_.steady() >= next_) renew_all(lost);
  renew_asked(lost);
  if (!lost.empty()) held_.lose(lost);
}

void LeaseRenewal::renew_all(std::vector<Receipt>& lost) {
  std::vector<Receipt> receipts;
  for (const auto& job : held_.all())
    if (job->leased && !job->settled) receipts.push_back(job->delivery.receipt);
  const auto now = clock_.steady();
  if (!receipts.empty() && !ask_([&] { lost = broker_.renew(receipts, lease_); })) return;
  next_ = now + lease_ / 3;
  if (!receipts.empty()) count(lost);
}

void LeaseRenewal::renew_asked(std::vector<Receipt>& lost) {
  const auto now = clock_.steady();
  for (const auto& job : held_.all()) {
    const Duration asked{job->extend_micros.exchange(0)};
    if (asked == Duration::zero() || !job->leased || job->settled) continue;
    // A handler that says "still at it" in a tight loop costs no more than a few renewals a lease.
    if (asked <= lease_ && now - job->renewed_at < lease_ / 10) continue;
    const bool done = ask_([&] {
      const auto gone = broker_.renew(std::span(&job->delivery.receipt, 1), std::max(asked, lease_));
      lost.insert(lost.end(), gone.begin(), gone.end());
      job->renewed_at = now;
      if (gone.empty()) ++series_.leases_of(job->delivery.queue).renewed;
    });
    std::int64_t none = 0;
    if (!done) job->extend_micros.compare_exchange_strong(none, asked.count());
  }
}

/// Of all leases that are held, but for these.
void LeaseRenewal::count(const std::vector<Receipt>& lost) {
  const std::set<Receipt> gone(lost.begin(), lost.end());
  std::pair<const std::string*, LeaseSeries*> last{};  // jobs of one queue come together
  for (const auto& job : held_.all()) {
    if (!job->leased || job->settled || gone.contains(job->delivery.receipt)) continue;
    const auto& queue = job->delivery.queue;
    if (!last.first || *last.first != queue) last = {&queue, &series_.leases_of(queue)};
    ++last.second->renewed;
  }
}

}  // namespace stem
