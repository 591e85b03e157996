#pragma once

#include <stem/time.hpp>
#include <string>
#include <string_view>

namespace stem {

/// Scores of delayed jobs are milliseconds, as workers of other makes have them; three decimals keep them
/// exact.
std::string score_of(WallTime time);
WallTime time_of_score(std::string_view score);
/// Other scores are microseconds.
WallTime time_of_micros(std::string_view score);

}  // namespace stem
