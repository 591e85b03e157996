#include "core/zone_file.hpp"

#include <algorithm>
#include <stem/error.hpp>

namespace stem {
namespace {

using namespace std::chrono;

/// Far enough to lie beyond every run, near enough that sums do not overflow.
constexpr WallTime first_instant{sys_days{year{1} / 1 / 1}};
constexpr WallTime last_instant{sys_days{year{9999} / 1 / 1}};

[[noreturn]] void refuse(const char* what) {
  throw Error(Exit::data, std::string("the zone's file ") + what);
}

std::string_view take(std::string_view& rest, std::size_t count) {
  if (rest.size() < count) refuse("is cut off");
  const auto taken = rest.substr(0, count);
  rest.remove_prefix(count);
  return taken;
}

/// Two's complement, the highest byte first.
std::int64_t number(std::string_view bytes) {
  std::uint64_t value = (bytes[0] & 0x80) != 0 ? ~std::uint64_t{0} : 0;
  for (const char byte : bytes) value = value << 8 | static_cast<unsigned char>(byte);
  return static_cast<std::int64_t>(value);
}

struct Counts {
  std::size_t universal, standard, leaps, changes, kinds, letters;

  /// Of the body, where a time takes `size` bytes.
  std::size_t bytes(std::size_t size) const {
    return changes * (size + 1) + kinds * 6 + letters + leaps * (size + 4) + standard + universal;
  }
};

Counts take_header(std::string_view& rest) {
  const auto magic = take(rest, 20);
  if (!magic.starts_with("TZif")) refuse("is none");
  if (magic[4] < '2') refuse("is of version 1, which is too old");
  const auto count = [&] {
    const auto value = number(take(rest, 4));
    if (value < 0 || value > 100'000) refuse("is damaged");
    return static_cast<std::size_t>(value);
  };
  Counts counts{};
  for (auto* one :
       {&counts.universal, &counts.standard, &counts.leaps, &counts.changes, &counts.kinds, &counts.letters})
    *one = count();
  return counts;
}

}  // namespace

ZoneFile ZoneFile::parse(std::string_view rest) {
  // First comes all of it for those who know 32 bits only.
  take(rest, take_header(rest).bytes(4));
  const auto counts = take_header(rest);
  const auto times = take(rest, counts.changes * 8), kinds_of = take(rest, counts.changes),
             kinds = take(rest, counts.kinds * 6);
  take(rest, counts.bytes(8) - counts.changes * 9 - counts.kinds * 6);
  if (counts.kinds == 0) refuse("is damaged");
  const auto offset_of = [&](std::size_t kind) {
    if (kind >= counts.kinds) refuse("is damaged");
    const auto offset = seconds{number(kinds.substr(kind * 6, 4))};
    if (offset <= -hours{26} || offset >= hours{26}) refuse("is damaged");
    return offset;
  };
  ZoneFile file;
  file.first_ = offset_of(0);
  for (std::size_t i = 0; i < counts.changes; ++i) {
    const auto at = number(times.substr(i * 8, 8));
    if (i > 0 && at <= file.changes_.back().at) refuse("is damaged");
    file.changes_.push_back({at, offset_of(static_cast<unsigned char>(kinds_of[i]))});
  }
  if (!rest.starts_with('\n')) refuse("is cut off");
  rest.remove_prefix(1);
  const auto end = rest.find('\n');
  if (end == std::string_view::npos) refuse("is cut off");
  if (end > 0) file.rule_ = ZoneRule::parse(rest.substr(0, end));
  return file;
}

ZoneStretch ZoneFile::uncut(WallTime time) const {
  const auto instant = [](std::int64_t seconds_of_epoch) {
    // Some files begin with a change before there was a world.
    return WallTime{seconds{std::clamp<std::int64_t>(seconds_of_epoch, -100'000'000'000, 1'000'000'000'000)}};
  };
  const auto next =
      std::upper_bound(changes_.begin(), changes_.end(), time,
                       [&](WallTime t, const Change& change) { return t < instant(change.at); });
  const auto begin = next == changes_.begin() ? WallTime::min() : instant(std::prev(next)->at);
  const auto offset = next == changes_.begin() ? first_ : std::prev(next)->offset;
  if (next != changes_.end()) return {begin, instant(next->at), offset};
  if (!rule_) return {begin, WallTime::max(), offset};
  auto stretch = rule_->at(time);
  stretch.begin = std::max(stretch.begin, begin);
  return stretch;
}

ZoneStretch ZoneFile::at(WallTime time) const {
  auto stretch = uncut(time);
  stretch.begin = std::clamp(stretch.begin, first_instant, last_instant);
  stretch.end = std::clamp(stretch.end, first_instant, last_instant);
  return stretch;
}

}  // namespace stem
