#include "supervisor/unit_property.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <stem/error.hpp>

#include "core/name.hpp"
#include "core/nearest.hpp"

namespace stem {
namespace {

using Text = std::string_view;

bool is_one_of(Text text, std::initializer_list<Text> words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

std::optional<std::uint64_t> number(Text text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool is_between(Text text, int low, int high) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size() && value >= low && value <= high;
}

/// Calls `check` for each word between blanks; false if there is none.
template <typename Check>
bool every_word(Text text, const char* separators, Check check) {
  bool any = false;
  for (std::size_t at = 0; (at = text.find_first_not_of(separators, at)) != Text::npos;) {
    const auto end = std::min(text.find_first_of(separators, at), text.size());
    if (!check(text.substr(at, end - at))) return false;
    any = true;
    at = end;
  }
  return any;
}

bool is_boolean(Text text) {
  return is_one_of(text, {"yes", "no", "true", "false", "on", "off", "1", "0"});
}

bool is_percentage(Text text, std::uint64_t most) {
  if (text.empty() || text.back() != '%') return false;
  auto digits = text.substr(0, text.size() - 1);
  if (const auto point = digits.find('.'); point != Text::npos) {
    const auto fraction = digits.substr(point + 1);
    if (fraction.empty() || fraction.size() > 2 || !number(fraction)) return false;
    digits = digits.substr(0, point);
  }
  const auto value = number(digits);
  return value && *value <= most;
}

/// A number with one of `units` behind it, or none.
bool has_unit(Text text, Text units) {
  if (text.empty()) return false;
  if (units.find(text.back()) != Text::npos) text.remove_suffix(1);
  if (const auto point = text.find('.'); point != Text::npos)
    return number(text.substr(0, point)).has_value() && number(text.substr(point + 1)).has_value();
  return number(text).has_value();
}

bool is_size(Text text) {
  return text == "infinity" || is_percentage(text, 100) || has_unit(text, "KMGTPE");
}

bool is_count(Text text) {
  const auto value = number(text);
  return text == "infinity" || is_percentage(text, 100) || (value && *value > 0);
}

bool is_weight(Text text) {
  return is_between(text, 1, 10000);
}

bool is_cpu_weight(Text text) {
  return text == "idle" || is_weight(text);
}

/// `90`, `1min 30s`, `infinity`.
bool is_time_span(Text text) {
  return text == "infinity" || every_word(text, " ", [](Text word) {
           const auto digits = std::min(word.find_first_not_of("0123456789."), word.size());
           return digits > 0 && word.front() != '.' &&
                  is_one_of(word.substr(digits),
                            {"", "us", "ms", "s", "sec", "second", "seconds", "m", "min", "minute", "minutes",
                             "h", "hr", "hour", "hours", "d", "day", "days", "w"});
         });
}

/// `65536`, `1024:65536`, `infinity`.
bool is_limit(Text text) {
  const auto colon = text.find(':');
  const auto one = [](Text part) { return part == "infinity" || has_unit(part, "KMGTPE"); };
  return one(text.substr(0, colon)) && (colon == Text::npos || one(text.substr(colon + 1)));
}

/// `0-3,8`.
bool is_cpu_list(Text text) {
  return every_word(text, ", ", [](Text word) {
    const auto dash = word.find('-');
    const auto low = number(word.substr(0, dash));
    const auto high = dash == Text::npos ? low : number(word.substr(dash + 1));
    return low && high && *low <= *high && *high < 8192;
  });
}

bool is_addresses(Text text) {
  return every_word(text, " ", [](Text word) {
    if (is_one_of(word, {"any", "localhost", "link-local", "multicast"})) return true;
    const auto slash = word.find('/');
    const std::string address(word.substr(0, slash));
    unsigned char bytes[16];
    const bool v4 = inet_pton(AF_INET, address.c_str(), bytes) == 1;
    if (!v4 && inet_pton(AF_INET6, address.c_str(), bytes) != 1) return false;
    return slash == Text::npos || is_between(word.substr(slash + 1), 0, v4 ? 32 : 128);
  });
}

/// A device or a file on one, and what `check` takes.
template <bool (*check)(Text)>
bool is_of_device(Text text) {
  const auto blank = text.find(' ');
  return text.starts_with('/') && blank != Text::npos && check(text.substr(blank + 1));
}

bool is_rate(Text text) {
  return text == "infinity" || has_unit(text, "KMGT");
}

struct Property {
  Text key;
  bool (*check)(Text);
  const char* form;  ///< of a value, for a message
};

constexpr const char* a_boolean = "yes or no";
constexpr const char* a_size = "a size such as 512M, a percentage of the machine's, or infinity";
constexpr const char* a_weight = "a weight from 1 to 10000";
constexpr const char* a_span = "a length of time such as 90s or 5min, or infinity";
constexpr const char* a_limit = "a number, SOFT:HARD, or infinity";
constexpr const char* a_list = "numbers and ranges, such as 0-3,8";
constexpr const char* addresses =
    "addresses, networks such as 10.0.0.0/8, or any, localhost, link-local, multicast";
constexpr const char* a_device_rate = "a device and a rate, such as /dev/sda 5M";

constexpr Property allowed[] = {
    // systemd.resource-control(5)
    {"CPUAccounting", is_boolean, a_boolean},
    {"CPUWeight", is_cpu_weight, a_weight},
    {"StartupCPUWeight", is_cpu_weight, a_weight},
    {"CPUQuota", [](Text text) { return is_percentage(text, 1'000'000) && text != "0%"; },
     "a percentage such as 150%"},
    {"CPUQuotaPeriodSec", is_time_span, a_span},
    {"AllowedCPUs", is_cpu_list, a_list},
    {"AllowedMemoryNodes", is_cpu_list, a_list},
    {"MemoryAccounting", is_boolean, a_boolean},
    {"MemoryMin", is_size, a_size},
    {"MemoryLow", is_size, a_size},
    {"MemoryHigh", is_size, a_size},
    {"MemoryMax", is_size, a_size},
    {"MemorySwapMax", is_size, a_size},
    {"TasksAccounting", is_boolean, a_boolean},
    {"TasksMax", is_count, "a number, a percentage, or infinity"},
    {"IOAccounting", is_boolean, a_boolean},
    {"IOWeight", is_weight, a_weight},
    {"StartupIOWeight", is_weight, a_weight},
    {"IODeviceWeight", is_of_device<is_weight>, "a device and a weight, such as /dev/sda 200"},
    {"IOReadBandwidthMax", is_of_device<is_rate>, a_device_rate},
    {"IOWriteBandwidthMax", is_of_device<is_rate>, a_device_rate},
    {"IOReadIOPSMax", is_of_device<is_rate>, a_device_rate},
    {"IOWriteIOPSMax", is_of_device<is_rate>, a_device_rate},
    {"IODeviceLatencyTargetSec", is_of_device<is_time_span>, "a device and a length of time"},
    {"IPAccounting", is_boolean, a_boolean},
    {"IPAddressAllow", is_addresses, addresses},
    {"IPAddressDeny", is_addresses, addresses},
    {"ManagedOOMSwap",
     [](Text text) {
       return is_one_of(text, {"auto", "kill"});
     },
     "auto or kill"},
    {"ManagedOOMMemoryPressure",
     [](Text text) {
       return is_one_of(text, {"auto", "kill"});
     },
     "auto or kill"},
    {"ManagedOOMMemoryPressureLimit", [](Text text) { return is_percentage(text, 100); }, "a percentage"},
    {"ManagedOOMPreference",
     [](Text text) {
       return is_one_of(text, {"none", "avoid", "omit"});
     },
     "none, avoid or omit"},
    // What else bounds or paces a worker.
    {"Nice", [](Text text) { return is_between(text, -20, 19); }, "a number from -20 to 19"},
    {"CPUAffinity", is_cpu_list, a_list},
    {"IOSchedulingClass",
     [](Text text) {
       return is_one_of(text, {"best-effort", "idle"});
     },
     "best-effort or idle"},
    {"IOSchedulingPriority", [](Text text) { return is_between(text, 0, 7); }, "a number from 0 to 7"},
    {"OOMScoreAdjust", [](Text text) { return is_between(text, -1000, 1000); },
     "a number from -1000 to 1000"},
    {"OOMPolicy",
     [](Text text) {
       return is_one_of(text, {"continue", "stop", "kill"});
     },
     "continue, stop or kill"},
    {"LimitNOFILE", is_limit, a_limit},
    {"LimitNPROC", is_limit, a_limit},
    {"LimitCORE", is_limit, a_limit},
    {"LimitAS", is_limit, a_limit},
    {"LimitMEMLOCK", is_limit, a_limit},
    {"TimeoutStartSec", is_time_span, a_span},
    {"TimeoutStopSec", is_time_span, a_span},
    {"WatchdogSec", [](Text text) { return is_time_span(text); }, a_span},
    {"RestartSec", is_time_span, a_span},
};

/// Why a key that systemd knows is not for --property; empty for one that is not known here.
const char* reason_against(Text key) {
  if (key.starts_with("Exec") ||
      is_one_of(key, {"Type", "NotifyAccess", "PIDFile", "Restart", "RestartPreventExitStatus",
                      "SuccessExitStatus", "KillMode", "KillSignal", "RemainAfterExit"}))
    return "the unit's life depends on it";
  if (is_one_of(key, {"Environment", "EnvironmentFile", "PassEnvironment", "UnsetEnvironment",
                      "LoadCredential", "SetCredential"}))
    return "every local user can read it; variables go into --env-file or the node's file in the "
           "configuration directory";
  if (is_one_of(key, {"User", "Group", "DynamicUser", "SupplementaryGroups", "UMask", "WorkingDirectory",
                      "RootDirectory"}))
    return "it decides whom the worker runs as and what it may touch";
  if (key.starts_with("Protect") || key.starts_with("Private") || key.starts_with("Restrict") ||
      key.starts_with("SystemCall") || key.starts_with("Capability") || key.ends_with("Paths") ||
      is_one_of(key, {"AmbientCapabilities", "NoNewPrivileges", "LockPersonality", "MemoryDenyWriteExecute",
                      "Delegate", "DeviceAllow", "DevicePolicy", "BPFProgram", "Slice"}))
    return "it is part of the sandbox";
  return "";
}

}  // namespace

std::string_view property_key(std::string_view assignment) {
  return assignment.substr(0, assignment.find('='));
}

void check_unit_property(std::string_view assignment) {
  const auto refuse = [&](const std::string& why) {
    throw Error(Exit::usage, "--property " + printable(assignment) + ": " + why);
  };
  const auto key = property_key(assignment);
  if (key.size() == assignment.size()) refuse("it takes KEY=VALUE, such as MemoryMax=512M");
  const auto known = std::find_if(std::begin(allowed), std::end(allowed),
                                  [&](const Property& one) { return one.key == key; });
  if (known == std::end(allowed)) {
    if (const std::string why = reason_against(key); !why.empty())
      refuse(why + "; `systemctl edit` changes the unit itself");
    std::vector<Text> keys;
    for (const auto& one : allowed) keys.push_back(one.key);
    const auto near = nearest(std::string(key), keys);
    refuse("it is none of the limits that a node can be given" +
           (near.empty() ? "; stem-worker-multi(1) lists them, and `systemctl edit` changes the unit itself"
                         : "; did you mean " + std::string(near) + "?"));
  }
  const auto value = assignment.substr(key.size() + 1);
  const bool plain =
      std::all_of(value.begin(), value.end(), [](unsigned char c) { return c >= 0x20 && c < 0x7f; });
  if (!value.empty() && (!plain || !known->check(value)))
    refuse(std::string("systemd would ignore this value; it takes ") + known->form);
}

std::vector<std::string> merged_properties(const std::vector<std::string>& older,
                                           const std::vector<std::string>& newer) {
  std::vector<std::string> all;
  for (const auto& assignment : older) {
    const auto said_anew = [&](const std::string& other) {
      return property_key(other) == property_key(assignment);
    };
    if (std::none_of(newer.begin(), newer.end(), said_anew)) all.push_back(assignment);
  }
  for (const auto& assignment : newer) {
    if (assignment.size() > property_key(assignment).size() + 1) {
      all.push_back(assignment);
      continue;
    }
    std::erase_if(all,
                  [&](const std::string& other) { return property_key(other) == property_key(assignment); });
  }
  return all;
}

}  // namespace stem
