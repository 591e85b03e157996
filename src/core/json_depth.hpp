#pragma once

#include <stem/json.hpp>
#include <string_view>

namespace stem {

/// How deep arrays and objects may stand in each other, in arguments and results. Copying and writing a value
/// takes stack for each level, so what comes from outside has to be bounded.
inline constexpr int deepest_json = 512;

/// Whether `text`, if it is JSON, goes deeper. Looks at brackets outside of strings only; takes a pass over
/// the text.
bool text_too_deep(std::string_view text);
bool too_deep(const Json& value);

}  // namespace stem
