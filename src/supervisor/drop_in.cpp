#include "supervisor/drop_in.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stem/error.hpp>

#include "core/name.hpp"
#include "service/node_template.hpp"

namespace stem {
namespace {

constexpr std::string_view file_name = "50-stem-multi.conf";
constexpr std::string_view memory_mark = "# stem-options: ";
constexpr int memory_version = 1;

[[noreturn]] void cannot_write(const std::filesystem::path& path, int error) {
  const bool forbidden = error == EACCES || error == EPERM;
  throw Error(forbidden ? Exit::no_permission : Exit::cannot_create,
              "cannot write " + path.string() + ": " + std::strerror(error) +
                  (forbidden ? "; options of a node are kept there: use sudo, or --user, or put them into "
                               "the node's environment file"
                             : "; see that there is room, and that the file system is not read-only"));
}

/// True if it was there.
bool remove_file(const std::filesystem::path& file) {
  std::error_code error;
  if (!std::filesystem::remove(file, error)) {
    if (error) cannot_write(file, error.value());
    return false;
  }
  std::filesystem::remove(file.parent_path(), error);  // stays if others have drop-ins there
  return true;
}

/// A reader, such as a daemon-reload of somebody else, sees the old text or the new one.
void write_file(const std::filesystem::path& file, const std::string& text) {
  std::error_code error;
  std::filesystem::create_directories(file.parent_path(), error);
  if (error) cannot_write(file.parent_path(), error.value());
  auto fresh = file;
  fresh += ".new";
  const int fd = open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (fd < 0) cannot_write(fresh, errno);
  const auto written = write(fd, text.data(), text.size());
  const int failure = written == static_cast<ssize_t>(text.size()) ? 0 : written < 0 ? errno : ENOSPC;
  close(fd);
  if (failure || rename(fresh.c_str(), file.c_str()) != 0) {
    const int why = failure ? failure : errno;
    unlink(fresh.c_str());
    cannot_write(file, why);
  }
}

/// Calls `take` for each entry's name; none if the directory is not there.
template <typename Take>
void each_entry(const std::filesystem::path& directory, Take take) {
  std::error_code error;
  for (std::filesystem::directory_iterator at(directory, error), end; !error && at != end;
       at.increment(error))
    take(at->path().filename().string());
}

bool pulls_in(const std::string& directory) {
  return directory.ends_with(".wants") || directory.ends_with(".requires");
}

/// `path` with marks expanded as far as they are known before the start, or nothing if it holds %d.
std::optional<std::string> known_path(const std::string& path, const std::string& node) {
  auto marks = NodeTemplate::now(node);
  const auto first = marks.expand(path);
  marks.started += std::chrono::hours{1};
  if (marks.expand(path) != first) return std::nullopt;
  // systemd warns of /var/run in a unit and replaces it itself.
  return first.starts_with("/var/run/") ? first.substr(4) : first;
}

/// The directory of `path` up to the first component with a mark that only the start knows.
std::string known_directory(const std::string& path, const std::string& node) {
  std::filesystem::path directory = std::filesystem::path(path).parent_path();
  while (!known_path(directory.string(), node)) directory = directory.parent_path();
  return *known_path(directory.string(), node);
}

/// True if the unit lets the worker write below `directory` anyway.
bool is_open(const std::string& directory) {
  for (const std::string root : {"/run/stem", "/var/log/stem", "/var/lib/stem", "/tmp", "/var/tmp"})
    if (directory == root || directory.starts_with(root + "/")) return true;
  return false;
}

/// `word` in double quotes with C escapes, the characters of `doubled` twice.
std::string quoted(std::string_view word, std::string_view doubled) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string text = "\"";
  for (const char c : word) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\')
      text += {'\\', c};
    else if (doubled.find(c) != std::string_view::npos)
      text += {c, c};
    else if (byte < 0x20 || byte == 0x7f)
      text += {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
    else
      text += c;
  }
  return text + '"';
}

/// `path` as one word for split_command(), which reads STEM_ENV_FILE.
std::string command_word(const std::string& path) {
  std::string word = "'";
  for (const char c : path) word += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return word + "'";
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace

std::string exec_word(std::string_view word) {
  return quoted(word, "%$");
}
std::string quoted_word(std::string_view word) {
  return quoted(word, "%");
}

std::string unit_value(std::string_view value) {
  std::string text;
  for (const char c : value) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      throw Error(Exit::usage,
                  "'" + printable(value) + "' holds a control character, which a unit file cannot say here");
    text += c;
    if (c == '%') text += c;
  }
  return text;
}

std::vector<std::string> places_of(const std::string& node, const NodeOptions& options) {
  std::vector<std::string> places;
  for (const auto& file : {options.pidfile, options.logfile})
    if (!file.empty()) places.push_back(known_directory(file, node));
  std::sort(places.begin(), places.end());
  places.erase(std::unique(places.begin(), places.end()), places.end());
  return places;
}

std::string drop_in_text(const std::string& program, const std::string& node, const NodeOptions& options,
                         Scope scope, bool lasts) {
  const bool system = scope == Scope::system;
  const std::string runtime = system ? "/run/stem" : "%t/stem";
  const std::string environment = system ? "/etc/stem" : "%E/stem";
  std::ostringstream out;
  out << "# Written by `stem worker multi`, which remembers here how this node is to run. "
      << (lasts ? "Kept while the node is enabled;\n" : "Lost at the next boot;\n")
      << "# `stem worker multi start --reset " << node
      << "` drops it, `systemctl edit` makes changes that stay.\n"
      << memory_mark << Json{{"v", memory_version}, {"options", to_json(options)}}.dump()
      << "\n\n[Service]\n";
  // Their values are no place for specifiers: 50% is written as it is.
  for (const auto& property : options.properties) out << property << '\n';

  if (!options.env_file.empty()) {
    // Read by systemd, as root, after the unit's own two, so it wins; checked by the worker, which names bad
    // lines.
    out << "EnvironmentFile=" << unit_value(options.env_file) << '\n'
        << "Environment=\"STEM_ENV_FILE=" << environment << "/stem.env " << environment << "/%i.env "
        << quoted_word(command_word(options.env_file)).substr(1) << '\n';
  }

  std::string pidfile = '"' + runtime + "/%i.pid\"";
  if (!options.pidfile.empty()) {
    pidfile = exec_word(options.pidfile);
    // With the time of the start in its name systemd cannot know the file; it needs none under Type=notify.
    const auto known = known_path(options.pidfile, node);
    out << "PIDFile=" << (known ? unit_value(*known) : "") << '\n';
  }
  for (const auto& directory : places_of(node, options))
    if (system && !is_open(directory)) out << "ReadWritePaths=" << quoted_word("-" + directory) << '\n';

  out << "ExecStart=\nExecStart=" << program << " worker start --node %i --pidfile " << pidfile;
  for (const auto& word : worker_arguments(options)) out << ' ' << exec_word(word);
  out << '\n';
  return out.str();
}

std::optional<NodeOptions> drop_in_options(std::string_view text) {
  const auto mark = text.find(memory_mark);
  if (mark == std::string_view::npos) return std::nullopt;
  auto line = text.substr(mark + memory_mark.size());
  line = line.substr(0, line.find('\n'));
  const auto json = Json::parse(line, nullptr, false);
  if (!json.is_object() || json.value("v", 0) != memory_version || !json.contains("options"))
    return std::nullopt;
  try {
    return node_options_from_json(json["options"]);
  } catch (const Error&) {
    return std::nullopt;
  }
}

DropIns::Places DropIns::Places::of(Scope scope) {
  if (scope == Scope::system) return {"/run/systemd/system", "/etc/systemd/system"};
  return {user_runtime_dir() + "/systemd/user", user_config_dir() + "/systemd/user"};
}

DropIns::DropIns(Places places, std::string program, Scope scope)
    : places_(std::move(places)), program_(std::move(program)), scope_(scope) {}

std::filesystem::path DropIns::path(const std::string& node, bool lasting) const {
  return (lasting ? places_.lasting : places_.runtime) / (unit_of(node) + ".d") / file_name;
}

NodeOptions DropIns::options(const std::string& node) const {
  // As systemd has it: of two files of one name the one below /etc counts.
  for (const bool lasting : {true, false})
    if (auto options = drop_in_options(read_file(path(node, lasting)))) return *options;
  return {};
}

bool DropIns::set(const std::string& node, const NodeOptions& options, bool lasting) const {
  bool changed = false;
  if (const auto file = path(node, lasting); options.empty()) {
    changed = remove_file(file);
  } else if (const auto text = drop_in_text(program_, node, options, scope_, lasting);
             read_file(file) != text) {
    write_file(file, text);
    changed = true;
  }
  return remove_file(path(node, !lasting)) || changed;
}

bool DropIns::enabled(const std::string& node) const {
  bool found = false;
  each_entry(places_.lasting, [&](const std::string& name) {
    struct stat status {};
    found =
        found || (pulls_in(name) && lstat((places_.lasting / name / unit_of(node)).c_str(), &status) == 0);
  });
  return found;
}

std::vector<std::string> DropIns::nodes() const {
  std::vector<std::string> nodes;
  const auto add = [&](const std::string& unit) {
    if (auto node = node_of(unit); !node.empty()) nodes.push_back(std::move(node));
  };
  for (const auto& place : {places_.runtime, places_.lasting})
    each_entry(place, [&](const std::string& name) {
      if (name.ends_with(".d") && std::filesystem::exists(place / name / file_name))
        add(name.substr(0, name.size() - 2));
      else if (pulls_in(name))
        each_entry(place / name, add);
    });
  std::sort(nodes.begin(), nodes.end());
  nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
  return nodes;
}

}  // namespace stem
