#include "core/time_zone.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <stem/error.hpp>
#include <vector>

#include "core/name.hpp"
#include "core/nearest.hpp"
#include "core/zone_file.hpp"

namespace stem {
namespace {

namespace fs = std::filesystem;

const fs::path database = "/usr/share/zoneinfo";

/// Letters, digits and `_+-`, in parts between slashes: so no path leads out of the database.
bool is_zone_name(std::string_view name) {
  constexpr const char* signs = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-/";
  return !name.empty() && name.size() <= 100 && name.find_first_not_of(signs) == std::string_view::npos &&
         name.front() != '/' && name.back() != '/';
}

std::optional<std::string> content_of(const fs::path& path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return std::nullopt;
  std::ifstream file(path, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(file), {}};
  if (!file || !bytes.starts_with("TZif")) return std::nullopt;
  return bytes;
}

std::string similar(const std::string& name) {
  std::vector<std::string> names;
  std::error_code error;
  if (!fs::is_directory(database, error))
    return ": the system has no zoneinfo database; install the package tzdata";
  for (fs::recursive_directory_iterator entry(database, fs::directory_options::skip_permission_denied, error),
       end;
       !error && entry != end; entry.increment(error)) {
    auto known = entry->path().lexically_relative(database).string();
    if (known.starts_with("posix/") || known.starts_with("right/") || entry->is_directory(error)) continue;
    if (is_zone_name(known)) names.push_back(std::move(known));
  }
  const auto near = nearest(name, {names.begin(), names.end()});
  return near.empty() ? "; write a name of the zoneinfo database, such as Europe/Berlin or UTC"
                      : "; did you mean " + std::string(near) + "?";
}

}  // namespace

TimeZone TimeZone::named(const std::string& name) {
  TimeZone zone;
  if (name.empty() || name == "UTC" || name == "Etc/UTC" || name == "Z") return zone;
  static std::mutex mutex;
  static std::map<std::string, std::unique_ptr<const ZoneFile>> known;
  const std::lock_guard lock(mutex);
  auto found = known.find(name);
  if (found == known.end()) {
    const auto bytes = is_zone_name(name) ? content_of(database / name) : std::nullopt;
    if (!bytes) throw Error(Exit::data, "'" + printable(name) + "' is not a time zone" + similar(name));
    try {
      found = known.emplace(name, std::make_unique<const ZoneFile>(ZoneFile::parse(*bytes))).first;
    } catch (const Error& error) {
      throw Error(Exit::data, "'" + name + "' is not a time zone that can be read: " + error.what() +
                                  "; install tzdata anew");
    }
  }
  zone.name_ = name;
  zone.zone_ = found->second.get();
  return zone;
}

ZoneStretch TimeZone::at(WallTime time) const {
  static const ZoneFile utc;
  return (zone_ != nullptr ? *zone_ : utc).at(time);
}

}  // namespace stem
