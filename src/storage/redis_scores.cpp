#include "storage/redis_scores.hpp"

#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "storage/instant.hpp"

namespace stem {

std::string score_of(WallTime time) {
  char text[32];
  const auto all = micros(time);
  const auto thousand = std::int64_t{1000};
  std::snprintf(text, sizeof text, "%lld.%03lld", static_cast<long long>(all / thousand),
                static_cast<long long>(std::abs(all % thousand)));
  return text;
}

WallTime time_of_score(std::string_view score) {
  double milliseconds = 0;
  std::from_chars(score.data(), score.data() + score.size(), milliseconds);
  return wall_time(std::llround(milliseconds * 1000));
}

WallTime time_of_micros(std::string_view score) {
  double number = 0;
  std::from_chars(score.data(), score.data() + score.size(), number);
  return wall_time(std::llround(number));
}

}  // namespace stem
