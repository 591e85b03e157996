#include "core/nearest.hpp"

#include <algorithm>

namespace stem {
namespace {

std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before, last(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    before = last;
    last = row;
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t cost = a[i - 1] != b[j - 1];
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + cost});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
  }
  return row[b.size()];
}

}  // namespace

std::string_view nearest(std::string_view typed, const std::vector<std::string_view>& known) {
  std::string_view best;
  if (typed.size() > 128) return best;
  auto bound = std::max<std::size_t>(typed.size() / 3, typed.size() >= 4 ? 2 : 1) + 1;
  for (const auto name : known) {
    if (const auto edits = distance(typed, name); edits < bound) {
      bound = edits;
      best = name;
    }
  }
  return best;
}

}  // namespace stem
