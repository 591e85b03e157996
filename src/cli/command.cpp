#include "cli/command.hpp"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <iostream>
#include <set>
#include <stem/version.hpp>

#include "cli/commands.hpp"
#include "core/log_event.hpp"
#include "core/name.hpp"
#include "core/nearest.hpp"
#include "service/command_line.hpp"
#include "service/credentials.hpp"
#include "service/env_file.hpp"
#include "service/log_output.hpp"
#include "service/node_template.hpp"
#include "storage/tls_warnings.hpp"

namespace stem::cli {
namespace {

constexpr const char* exit_table =
    "Exit status: 0 fine, 1 unhealthy or a job failed, 3 a node is not running, 64 usage, 65 bad data,\n"
    "66 file missing, 69 unreachable, 70 defect of Stem, 73 cannot create, 75 try again, 77 permission,\n"
    "78 configuration. Manual: man stem.\n";

int fail(const std::string& who, const std::string& message, Exit code) {
  const bool refused = code == Exit::usage || code == Exit::no_input || code == Exit::config;
  if (refused && stderr_is_journal()) {
    // A service that will not be started again: the journal is to say what to do.
    const LogOutput log({});
    const LogEvent event(LogEvent::refused_configuration);
    spdlog::error("{}: {}", who, message);
    return static_cast<int>(code);
  }
  std::cerr << who << ": " << message << '\n';
  return static_cast<int>(code);
}

/// The commands whose path starts with `group` ("" = all), one a line.
void print_commands(std::ostream& out, const std::string& group) {
  out << "Usage: stem " << (group.empty() ? "" : group + " ") << "COMMAND [OPTIONS]\n\n";
  std::size_t width = 0;
  for (const auto& command : commands()) width = std::max(width, command.path.size());
  for (const auto& command : commands()) {
    if (!group.empty() && !command.path.starts_with(group + " ")) continue;
    out << "  stem " << command.path << std::string(width + 2 - command.path.size(), ' ') << command.summary
        << '\n';
  }
  out << "\n`stem COMMAND --help` tells the options of each.\n" << exit_table;
}

bool is_group(const std::string& word) {
  return std::any_of(commands().begin(), commands().end(),
                     [&](const Command& command) { return command.path.starts_with(word + " "); });
}

bool is_blank(const std::string& text) {
  return text.find_first_not_of(" \t") == std::string::npos;
}

/// "; did you mean 'stem worker start'?" or the way to the help.
std::string hint(const std::string& typed) {
  std::vector<std::string_view> paths;
  for (const auto& command : commands()) paths.push_back(command.path);
  const auto near = nearest(typed, paths);
  return near.empty() ? "; `stem --help` lists the commands"
                      : "; did you mean `stem " + std::string(near) + "`?";
}

/// Options as in a manual page: name and value, without the parser's remarks.
class Help : public CLI::Formatter {
 public:
  Help() { column_width(32); }
  std::string make_option_opts(const CLI::Option* option) const override {
    const auto value = option->get_type_name();
    if (value.empty() || option->get_positional()) return "";
    return " " + value + (option->get_expected_max() > 1 ? " ..." : "");
  }
};

int run_command(const Command& command, std::vector<std::string> arguments) {
  const std::string who = "stem " + std::string(command.path);
  CLI::App app{std::string(command.summary), who};
  app.formatter(std::make_shared<Help>());
  Common common;
  app.add_flag("--json", common.json, "report as JSON");
  app.add_option("--env-file", common.env_file,
                 "read variables from this file, as systemd's EnvironmentFile=")
      ->type_name("FILE");
  app.add_flag("-v,--verbose", common.verbose, "say more on standard error; twice for debugging");
  app.add_flag("--no-color", common.no_color, "no colours");
  app.set_help_flag("-h,--help", "show this help");
  app.footer(exit_table);
  const auto work = command.define(app, common);
  if (command.prepare) arguments = command.prepare(std::move(arguments));
  try {
    std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants a vector
    app.parse(std::move(arguments));
  } catch (const CLI::CallForHelp&) {
    std::cout << app.help();
    return 0;
  } catch (const CLI::ParseError& error) {
    std::string what = error.what();
    std::replace(what.begin(), what.end(), '\n', ' ');
    return fail(who, what + "; see `" + who + " --help`", Exit::usage);
  }
  return work();
}

int dispatch(const std::vector<std::string>& words) {
  if (words.empty()) return print_commands(std::cerr, ""), static_cast<int>(Exit::usage);
  if (words[0] == "--version") return std::cout << "stem " << version << '\n', 0;
  if (words[0] == "--help" || words[0] == "-h" || words[0] == "help") return print_commands(std::cout, ""), 0;

  for (std::size_t length = std::min<std::size_t>(words.size(), 2); length > 0; --length) {
    const std::string path = length == 2 ? words[0] + " " + words[1] : words[0];
    for (const auto& command : commands())
      if (command.path == path)
        return run_command(command, {words.begin() + static_cast<std::ptrdiff_t>(length), words.end()});
  }
  if (is_group(words[0])) {
    if (words.size() == 1) return print_commands(std::cerr, words[0]), static_cast<int>(Exit::usage);
    if (words[1] == "--help" || words[1] == "-h") return print_commands(std::cout, words[0]), 0;
    return fail(
        "stem",
        "unknown command '" + words[0] + " " + printable(words[1]) + "'" + hint(words[0] + " " + words[1]),
        Exit::usage);
  }
  return fail("stem", "unknown command '" + printable(words[0]) + "'" + hint(words[0]), Exit::usage);
}

}  // namespace

Environment load_what_can_be_read(const Common& common) {
  auto environment = process_environment();
  const auto read = [&](const std::string& path) {
    try {
      const auto file = EnvFile::read(path, EnvFile::WrongLines::skipped);
      for (const auto& warning : file.warnings) std::cerr << "stem: " << warning << '\n';
      file.apply_to(environment);
    } catch (const Error& error) {
      std::cerr << "stem: " << error.what() << '\n';
    }
  };
  if (const auto listed = environment.find("STEM_ENV_FILE"); listed != environment.end()) {
    try {
      for (const auto& path : split_command(listed->second))
        if (access(path.c_str(), R_OK) == 0) read(path);
    } catch (const Error& error) {
      std::cerr << "stem: STEM_ENV_FILE: " << error.what() << '\n';
    }
  }
  if (!common.env_file.empty()) read(common.env_file);
  return environment;
}

EnvironmentFiles::EnvironmentFiles(const Common& common, const std::string& node) {
  const auto inherited = process_environment();
  const auto variable = [&](const char* name) {
    const auto at = inherited.find(name);
    return at == inherited.end() ? std::string{} : at->second;
  };
  const auto name = node.empty() ? variable("STEM_WORKER_NODE") : node;
  // The unit names the files that systemd has read: here they are checked for lines that systemd drops
  // without a word, and read again for a reload. One that only root may read has come by the environment.
  if (const auto listed = variable("STEM_ENV_FILE"); !is_blank(listed))
    for (const auto& path : split_command(listed))
      optional_.push_back(is_name(name) ? NodeTemplate::now(name).expand(path) : path);
  required_ = common.env_file;
  beneath_ = inherited;
}

Environment EnvironmentFiles::read() {
  Environment written;
  const auto add = [&](const std::string& path) {
    const auto file = EnvFile::read(path);
    for (const auto& warning : file.warnings) std::cerr << "stem: " << warning << '\n';
    file.apply_to(written);
  };
  for (const auto& path : optional_) {
    try {
      add(path);
    } catch (const Error& error) {
      if (error.code() != Exit::no_input && error.code() != Exit::no_permission) throw;
    }
  }
  if (!required_.empty()) add(required_);
  // A line that is taken out later is not to live on because systemd had put it into our environment, too.
  for (const auto& entry : written) beneath_.erase(entry.first);
  auto environment = beneath_;
  environment.insert(written.begin(), written.end());
  return environment;
}

Config load_config(const Environment& environment) {
  for (const auto& warning : unknown_settings(environment)) std::cerr << "stem: " << warning << '\n';
  return Config::from(with_credentials(environment));
}

Config load_config(const Common& common) {
  auto config = load_config(load_environment(common));
  for (const auto& warning : tls_warnings(config.tls)) std::cerr << "stem: warning: " << warning << '\n';
  return config;
}

int run(int argc, char** argv) {
  // The one place where what cannot go on becomes a line and an exit status.
  try {
    const int status = dispatch({argv + std::min(argc, 1), argv + argc});
    std::cout.flush();
    // Output that was lost (a full disk, a closed pipe) is a failure, not a success without words.
    return std::cout ? status : fail("stem", "cannot write to standard output", Exit::cannot_create);
  } catch (const Error& error) {
    return fail("stem", error.what(), error.code());
  } catch (const std::exception& error) {
    return fail("stem", std::string("internal error: ") + error.what() + "; please report it",
                Exit::software);
  }
}

}  // namespace stem::cli
