#include "scheduler/leader_lock.hpp"

#include <algorithm>
#include <stem/json.hpp>

#include "core/id.hpp"

namespace stem {
namespace {

std::string value_of(const std::string& title, WallTime now) {
  return Json{{"v", 1}, {"owner", new_id(now)}, {"title", title}, {"since", format_time(now)}}.dump();
}

}  // namespace

LeaderLock::LeaderLock(std::shared_ptr<Store> store, const Clock& clock, std::string title, Duration period)
    : store_(std::move(store)), clock_(clock), value_(value_of(title, clock.wall())), period_(period) {}

bool LeaderLock::take(std::int64_t expected) {
  // Counted from before the write: what we believe ends no later than what the store knows.
  const auto now = clock_.steady();
  if (!store_->compare_and_set({key, value_, period_}, expected)) return false;
  const auto ours = store_->get(key);
  if (!ours || ours->value != value_) return false;
  version_ = seen_ = ours->version;
  renewed_ = now;
  holder_.clear();
  return true;
}

bool LeaderLock::hold() {
  if (leads()) {
    if (clock_.steady() - renewed_ < period_ / 3) return true;
    if (take(version_)) return true;
    version_ = 0;
  }
  const auto current = store_->get(key);
  // Ours, and not known to be: a renewal whose answer was lost.
  const bool ours = current && current->value == value_;
  if (!current || current->value.empty() || ours) {
    if (take(current ? current->version : 0)) {
      ++term_;
      return true;
    }
    ends_ = clock_.wall();  // somebody was quicker: look at once
    return false;
  }
  seen_ = current->version;
  ends_ = current->expires.value_or(clock_.wall() + period_);
  const auto told = Json::parse(current->value, nullptr, false);
  holder_ = told.is_object() && told.contains("title") && told["title"].is_string() ? told["title"].get<std::string>() : "another scheduler";
  return false;
}

bool LeaderLock::certain() const { return leads() && clock_.steady() - renewed_ < period_ * 2 / 3; }

Duration LeaderLock::next_look() const {
  if (leads()) return std::max(Duration{}, duration_cast<Duration>(renewed_ + period_ / 3 - clock_.steady()));
  return std::max(Duration{std::chrono::milliseconds{1}}, ends_ - clock_.wall());
}

void LeaderLock::release() {
  if (!leads()) return;
  // An empty value is a free lock, and a write that those who wait hear of.
  store_->compare_and_set({key, "", {}}, version_);
  version_ = 0;
}

}  // namespace stem
