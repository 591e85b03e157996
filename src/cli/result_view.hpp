#pragma once

#include <optional>
#include <stem/result.hpp>
#include <string>

namespace stem::cli {

/// Shows one job's result; returns the exit status: 0 succeeded or still on its way, 1 failed or cancelled,
/// 66 unknown.
int show_result(const std::string& id, const std::optional<Result>& result, bool json);
/// As show_result, after waiting: 75 if it has not ended.
int print_result(const std::string& id, const std::optional<Result>& result, bool json);

}  // namespace stem::cli
