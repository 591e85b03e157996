#pragma once

#include <algorithm>
#include <cstdio>
#include <optional>
#include <stem/json.hpp>
#include <string>
#include <vector>

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.at(values.size() / 2);
}

/// One line of a benchmark's output. `ratio` is ours against the peer's of the same run, `bar` what it must
/// reach.
inline void print_figure(const std::string& figure, double value, const std::string& unit,
                         std::optional<double> ratio = {}, std::optional<double> bar = {}) {
  nlohmann::ordered_json line{{"figure", figure}, {"value", value}, {"unit", unit}};
  if (ratio) line["ratio"] = *ratio;
  if (bar) line["bar"] = *bar;
  std::puts(line.dump().c_str());
  std::fflush(stdout);
}
