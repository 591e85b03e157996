#include "supervisor/process_facts.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <charconv>
#include <ctime>
#include <vector>

namespace stem {
namespace {

/// A small file of /proc or /sys, in one read: such files answer as of one instant only then.
std::string slurp(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  char buffer[4096];
  const auto got = read(fd, buffer, sizeof buffer);
  close(fd);
  return got > 0 ? std::string(buffer, static_cast<std::size_t>(got)) : std::string{};
}

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc{}) return std::nullopt;
  return value;
}

/// Fields of /proc/PID/stat from the third (state) on; the second may hold blanks and brackets.
std::vector<std::string> stat_fields(pid_t pid) {
  const auto text = slurp("/proc/" + std::to_string(pid) + "/stat");
  std::vector<std::string> fields;
  auto at = text.rfind(')');
  while (at != std::string::npos && (at = text.find_first_not_of(") ", at)) != std::string::npos) {
    const auto end = text.find(' ', at);
    fields.push_back(text.substr(at, end - at));
    at = end;
  }
  return fields;
}

}  // namespace

std::optional<Duration> process_age(pid_t pid) {
  const auto fields = stat_fields(pid);
  if (fields.size() < 20) return std::nullopt;
  const auto start = number(fields[19]);  // clock ticks since boot
  timespec now{};
  if (!start || clock_gettime(CLOCK_BOOTTIME, &now) != 0) return std::nullopt;
  const auto since_boot = std::chrono::seconds{now.tv_sec} + std::chrono::nanoseconds{now.tv_nsec};
  const Duration started{
      static_cast<std::int64_t>(*start * 1'000'000 / static_cast<std::uint64_t>(sysconf(_SC_CLK_TCK)))};
  return std::max(duration_cast<Duration>(since_boot) - started, Duration{});
}

std::optional<char> process_letter(pid_t pid) {
  const auto fields = stat_fields(pid);
  if (fields.empty() || fields[0].empty()) return std::nullopt;
  return fields[0][0];
}

std::optional<std::uint64_t> unit_memory(pid_t pid, const std::string& unit) {
  const auto groups = slurp("/proc/" + std::to_string(pid) + "/cgroup");
  const auto at = groups.find("0::/");
  if (at == std::string::npos) return std::nullopt;
  const auto path = groups.substr(at + 3, groups.find('\n', at) - at - 3);
  // Of the unit, not of what it may have put below: the figure of systemctl status.
  const auto name = path.find("/" + unit);
  if (name == std::string::npos) return std::nullopt;
  return number(slurp("/sys/fs/cgroup" + path.substr(0, name + 1 + unit.size()) + "/memory.current"));
}

std::optional<std::uint64_t> process_memory(pid_t pid) {
  const auto text = slurp("/proc/" + std::to_string(pid) + "/statm");
  const auto at = text.find(' ');
  if (at == std::string::npos) return std::nullopt;
  const auto pages = number(std::string_view(text).substr(at + 1));
  if (!pages) return std::nullopt;
  return *pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace stem
