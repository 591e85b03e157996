#include "scheduler/leader_lock.hpp"

#include <algorithm>
#include <stem/error.hpp>
#include <stem/json.hpp>

#include "core/id.hpp"

namespace stem {
namespace {

using std::chrono::milliseconds;

constexpr std::uint64_t longest_period = 86'400'000;  // for a value that is not ours

std::string value_of(const std::string& title, Duration period, WallTime now) {
  return Json{{"v", 1},
              {"owner", new_id(now)},
              {"title", title},
              {"since", format_time(now)},
              {"periodMs", std::chrono::ceil<milliseconds>(period).count()}}
      .dump(-1, ' ', false, Json::error_handler_t::replace);
}

LeaderLock::Holder holder_of(const StoreEntry& entry) {
  const auto told = Json::parse(entry.value, nullptr, false);
  const auto part = [&](const char* name) { return told.is_object() ? told.value(name, Json()) : Json(); };
  LeaderLock::Holder holder{
      .title = "another scheduler", .since = {}, .period = {}, .version = entry.version};
  if (const auto title = part("title"); title.is_string()) holder.title = title.get<std::string>();
  if (const auto period = part("periodMs"); period.is_number_unsigned() && period <= longest_period)
    holder.period = milliseconds{period.get<std::int64_t>()};
  try {
    if (const auto since = part("since"); since.is_string())
      holder.since = parse_time(since.get<std::string>());
  } catch (const Error&) {
    // Not written by us.
  }
  return holder;
}

}  // namespace

std::optional<LeaderLock::Holder> LeaderLock::holder_in(Store& store) {
  const auto entry = store.get(key);
  if (!entry || entry->value.empty()) return std::nullopt;
  return holder_of(*entry);
}

LeaderLock::LeaderLock(std::shared_ptr<Store> store, const Clock& clock, const std::string& title,
                       Duration period)
    : store_(std::move(store)),
      clock_(clock),
      value_(value_of(title, period, clock.wall())),
      period_(period) {}

bool LeaderLock::take(std::int64_t expected) {
  const auto now = clock_.steady();
  if (!store_->compare_and_set({key, value_, {}}, expected)) return false;
  const auto ours = store_->get(key);
  if (!ours || ours->value != value_) return false;
  version_ = seen_ = ours->version;
  renewed_ = now;
  doubted_ = false;
  holder_.clear();
  return true;
}

bool LeaderLock::hold() {
  if (leads()) {
    if (!doubted_ && clock_.steady() - renewed_ < period_ / 3) return true;
    if (take(version_)) return true;
    version_ = 0;
  }
  const auto current = store_->get(key);
  // Ours, and not known to be: a renewal whose answer was lost.
  const bool free = !current || current->value.empty() || current->value == value_;
  const auto version = current ? current->version : 0;
  const auto now = clock_.steady();
  if (version != seen_) since_ = now;
  seen_ = version;
  if (!free) {
    const auto other = holder_of(*current);
    holder_ = other.title;
    patience_ = other.period > Duration::zero() ? other.period : period_;
  }
  if (!free && now - since_ < patience_) return false;
  if (take(version)) {
    ++term_;
    return true;
  }
  since_ = now - patience_;  // somebody was quicker: look at once
  return false;
}

bool LeaderLock::certain() const {
  return leads() && clock_.steady() - renewed_ < period_ * 2 / 3;
}

Duration LeaderLock::next_look() const {
  const auto now = clock_.steady();
  if (leads())
    return doubted_ ? Duration{}
                    : std::max(Duration{}, duration_cast<Duration>(renewed_ + period_ / 3 - now));
  return std::max<Duration>(milliseconds{1}, duration_cast<Duration>(since_ + patience_ - now));
}

void LeaderLock::release() {
  if (!leads()) return;
  // An empty value is a free lock, and a write that those who wait hear of.
  store_->compare_and_set({key, "", {}}, version_);
  version_ = 0;
}

}  // namespace stem
