#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace stem {

/// Checks `KEY=VALUE` of --property. A key is a resource limit (systemd.resource-control(5)) or one of a few
/// others that leave the unit's identity, sandbox and protocol alone, in systemd's spelling. Values are
/// checked as well, since systemd ignores a bad one with no more than a line in the journal. An empty value
/// is fine: it forgets the property. Throws Error 64 with the reason.
void check_unit_property(std::string_view assignment);

/// The part before the first `=`.
std::string_view property_key(std::string_view assignment);

/// `older` with each key of `newer` in its place, in the order they were said; a key that is said several
/// times keeps all its values (IPAddressAllow=), one with an empty value is dropped.
std::vector<std::string> merged_properties(const std::vector<std::string>& older,
                                           const std::vector<std::string>& newer);

}  // namespace stem
