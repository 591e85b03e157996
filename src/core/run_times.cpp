#include "core/run_times.hpp"

#include <algorithm>
#include <bit>

namespace stem {
namespace {

/// What a worker may say without a sum running over.
constexpr std::uint64_t most = std::uint64_t{1} << 50;

}  // namespace

/// The first bit tells the octave, the second its half.
std::size_t RunTimes::class_of(Duration length) {
  const auto micros = static_cast<std::uint64_t>(std::max<std::int64_t>(length.count(), 1));
  const auto octave = static_cast<std::size_t>(std::bit_width(micros)) - 1;
  const auto half = octave > 0 ? (micros >> (octave - 1)) & 1 : 0;
  return std::min(2 * octave + half, classes - 1);
}

double RunTimes::beginning(std::size_t number) {
  const auto octave = static_cast<double>(std::uint64_t{1} << (number / 2));
  return number % 2 ? octave * 1.5 : octave;
}

void RunTimes::add(const RunTimes& others) {
  for (std::size_t i = 0; i < classes; ++i) counts_[i] += others.counts_[i];
  count_ += others.count_;
}

RunTimes RunTimes::since(const RunTimes& earlier) const {
  RunTimes rest;
  for (std::size_t i = 0; i < classes; ++i) {
    if (counts_[i] < earlier.counts_[i]) return *this;
    rest.counts_[i] = counts_[i] - earlier.counts_[i];
    rest.count_ += rest.counts_[i];
  }
  return rest;
}

std::optional<Duration> RunTimes::quantile(double q) const {
  if (count_ == 0) return std::nullopt;
  const auto rank = std::clamp(q, 0.0, 1.0) * static_cast<double>(count_);
  double before = 0;
  for (std::size_t i = 0; i < classes; ++i) {
    const auto here = static_cast<double>(counts_[i]);
    if (here > 0 && before + here >= rank) {
      // As if those of a class lay evenly in it.
      const auto from = beginning(i), to = beginning(i == 0 ? 2 : i + 1);
      return Duration{static_cast<std::int64_t>(from + (to - from) * (rank - before) / here)};
    }
    before += here;
  }
  return std::nullopt;
}

Json RunTimes::json() const {
  auto list = Json::array();
  for (std::size_t i = 0; i < classes; ++i)
    if (counts_[i] > 0) list.push_back(Json::array({i, counts_[i]}));
  return list;
}

RunTimes RunTimes::from(const Json& list) {
  RunTimes times;
  if (!list.is_array()) return times;
  for (const auto& pair : list) {
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_number_integer() || !pair[1].is_number_integer())
      continue;
    // A negative one becomes too large.
    const auto number = pair[0].get<std::uint64_t>(), count = pair[1].get<std::uint64_t>();
    if (number >= classes || count > most) continue;
    times.counts_[number] += count;
    times.count_ += count;
  }
  return times;
}

}  // namespace stem
