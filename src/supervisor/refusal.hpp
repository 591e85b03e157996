#pragma once

#include <stem/error.hpp>
#include <string>

#include "supervisor/scope.hpp"
#include "supervisor/verb.hpp"

namespace stem {

/// True for the D-Bus errors that mean: not allowed, with or without a question to the user.
bool is_permission_error(const std::string& error_name);

/// Exit 77, with the ways out. `what` is a unit, or a word for several.
Error not_permitted(Verb verb, const std::string& what);

/// A call about `unit` that the service manager refused, in words and with the exit status it stands for.
Error explain_refusal(Verb verb, const std::string& unit, const Manager& manager,
                      const std::string& error_name, const std::string& error_text);

}  // namespace stem
