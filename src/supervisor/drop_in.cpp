#include "supervisor/drop_in.hpp"

#include <fcntl.h>
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
                             : "; see that there is room below /run"));
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
                         Scope scope) {
  const bool system = scope == Scope::system;
  const std::string runtime = system ? "/run/stem" : "%t/stem";
  const std::string environment = system ? "/etc/stem" : "%E/stem";
  std::ostringstream out;
  out << "# Written by `stem worker multi`, which remembers here how this node is to run. Lost at the next "
         "boot;\n"
         "# `stem worker multi start --reset "
      << node << "` drops it, `systemctl edit` makes changes that stay.\n"
      << memory_mark << Json{{"v", memory_version}, {"options", to_json(options)}}.dump()
      << "\n\n[Service]\n";

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

DropIns::DropIns(std::filesystem::path directory, std::string program, Scope scope)
    : directory_(std::move(directory)), program_(std::move(program)), scope_(scope) {}

std::filesystem::path DropIns::path(const std::string& node) const {
  return directory_ / (unit_of(node) + ".d") / file_name;
}

NodeOptions DropIns::options(const std::string& node) const {
  return drop_in_options(read_file(path(node))).value_or(NodeOptions{});
}

bool DropIns::set(const std::string& node, const NodeOptions& options) const {
  const auto file = path(node);
  std::error_code error;
  if (options.empty()) {
    if (!std::filesystem::remove(file, error)) {
      if (error) cannot_write(file, error.value());
      return false;
    }
    std::filesystem::remove(file.parent_path(), error);  // stays if others have drop-ins there
    return true;
  }

  const auto text = drop_in_text(program_, node, options, scope_);
  if (read_file(file) == text) return false;
  std::filesystem::create_directories(file.parent_path(), error);
  if (error) cannot_write(file.parent_path(), error.value());

  // A reader, such as a daemon-reload of somebody else, sees the old text or the new one.
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
  return true;
}

std::vector<std::string> DropIns::nodes() const {
  std::vector<std::string> nodes;
  std::error_code error;
  for (std::filesystem::directory_iterator at(directory_, error), end; !error && at != end;
       at.increment(error)) {
    auto name = at->path().filename().string();
    if (!name.ends_with(".d")) continue;
    name.resize(name.size() - 2);
    if (const auto node = node_of(name); !node.empty() && std::filesystem::exists(at->path() / file_name))
      nodes.push_back(node);
  }
  std::sort(nodes.begin(), nodes.end());
  return nodes;
}

}  // namespace stem
