// What the node is to run: stem itself, task modules, or a program of another language.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "diagnosis/check.hpp"
#include "diagnosis/subject.hpp"
#include "service/command_line.hpp"
#include "worker/module.hpp"

namespace stem {
namespace {

constexpr auto section = "PROGRAM AND TASKS";
/// A module's constructors may do anything; this is no place to wait for them.
constexpr Duration load_patience = std::chrono::seconds{10};

std::string for_whom(const Subject& s) {
  return s.account ? s.account->name : s.user;
}

/// 0, an errno, or nothing where it cannot be told.
std::optional<int> may_run(const Subject& s, const std::string& path) {
  if (!s.account) return std::nullopt;
  struct stat status {};
  if (stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) return EISDIR;
  return access_as(*s.account, path, X_OK);
}

Finding program(const Subject& s) {
  if (s.program.empty()) return Finding::skip("no program is known");
  const auto cannot = may_run(s, s.program);
  if (cannot && *cannot)
    return Finding::error(s.program + " cannot be run by " + for_whom(s) + ": " + std::strerror(*cannot),
                          "install Stem there, or correct ExecStart= in the drop-in");
  struct stat theirs {
  }, ours{};
  if (stat(s.program.c_str(), &theirs) == 0 && stat("/proc/self/exe", &ours) == 0 &&
      (theirs.st_dev != ours.st_dev || theirs.st_ino != ours.st_ino)) {
    if (s.under_systemd() && !s.program.ends_with("/stem"))
      return Finding::ok("the unit runs " + s.program + ", a program of its own");
    return Finding::warning(
        "the node runs " + s.program + ", which is not the stem that checks here",
        "check with that one, and remove the other: two versions misunderstand each other");
  }
  return cannot ? Finding::ok(s.program)
                : Finding::skip("only root or " + for_whom(s) + " can tell whether " + s.program +
                                " may be run");
}

Finding something_to_run(const Subject& s) {
  if (!s.config) return Finding::skip("the configuration cannot be read");
  if (s.under_systemd() && !s.program.ends_with("/stem"))
    return Finding::skip("the unit runs a program of its own");
  if (s.config->command.empty() && s.config->apps.empty())
    return Finding::error(
        "the node has nothing to run",
        "set STEM_WORKER_APP (task modules) or STEM_WORKER_COMMAND (a program) in " +
            (s.env_files.empty() ? std::string("an environment file") : s.env_files.back().path));
  return Finding::ok(s.config->command.empty()
                         ? std::to_string(s.config->apps.size()) +
                               (s.config->apps.size() == 1 ? " task module" : " task modules")
                         : "a program");
}

/// The path of a program as the worker would find it; empty if it would not.
std::string found_in_path(const std::string& name, const Environment& environment) {
  if (name.find('/') != name.npos) return name;
  const auto set = environment.find("PATH");
  // systemd's own, where nobody says another.
  std::string path =
      set == environment.end() ? "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" : set->second;
  for (std::size_t at = 0; at <= path.size();) {
    const auto end = std::min(path.find(':', at), path.size());
    auto candidate = path.substr(at, end - at) + "/" + name;
    struct stat status {};
    if (stat(candidate.c_str(), &status) == 0 && S_ISREG(status.st_mode) && status.st_mode & 0111)
      return candidate;
    at = end + 1;
  }
  return {};
}

/// The interpreter that a script names; empty for what is no script.
std::string interpreter_of(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  char mark[2] = {};
  if (!file.read(mark, 2) || mark[0] != '#' || mark[1] != '!' || !std::getline(file, line)) return {};
  const auto begin = line.find_first_not_of(" \t");
  return begin == line.npos ? std::string() : line.substr(begin, line.find_first_of(" \t\r", begin) - begin);
}

Finding command(const Subject& s) {
  if (!s.config) return Finding::skip("the configuration cannot be read");
  if (s.config->command.empty()) return Finding::skip("the node runs no other program");
  const auto name = split_command(s.config->command).front();  // its Error is the finding
  const auto path = found_in_path(name, s.environment);
  const std::string fix = "correct STEM_WORKER_COMMAND, or install the program; its whole path is best";
  if (path.empty()) return Finding::error("no program '" + name + "' is in PATH", fix);
  if (!path.starts_with('/') && s.workdir.empty())
    return Finding::warning(path + " is looked for in whatever directory the worker is started", fix);
  const auto whole = path.starts_with('/') ? path : s.workdir + "/" + path;
  const auto cannot = may_run(s, whole);
  if (cannot && *cannot)
    return Finding::error(
        whole + " cannot be run by " + for_whom(s) + ": " + std::strerror(*cannot),
        *cannot == EACCES ? "chmod a+rx " + whole + ", and a+x for the directories above it" : fix);
  if (const auto interpreter = interpreter_of(whole);
      !interpreter.empty() && access(interpreter.c_str(), X_OK) != 0)
    return Finding::error(
        whole + " is a script for " + interpreter + ", which cannot be run: " + std::strerror(errno),
        "install it, or correct the script's first line");
  return cannot ? Finding::ok(whole)
                : Finding::skip("only root or " + for_whom(s) + " can tell whether " + whole + " may be run");
}

Finding modules(const Subject& s) {
  if (!s.config) return Finding::skip("the configuration cannot be read");
  if (!s.config->command.empty() || s.config->apps.empty())
    return Finding::skip("the node loads no task modules");
  if (!s.account || !s.account->can_be_tried())
    return Finding::skip("only root or " + for_whom(s) + " can tell whether the modules load");
  auto all = Finding::ok("");
  for (const auto& module : s.config->apps) {
    const auto trial = try_as(*s.account, load_patience, [&] {
      Registry tasks;
      if (!s.workdir.empty() && chdir(s.workdir.c_str()) != 0) {
        // Names may be relative to it. Whether it can be entered is another check's question.
      }
      // What a module prints is not for whoever reads a diagnosis.
      if (const int null = open("/dev/null", O_RDWR | O_CLOEXEC); null >= 0) dup2(null, 1), dup2(null, 2);
      load_module(module, tasks);
      return std::to_string(tasks.all().size());
    });
    switch (trial.kind) {
      case Trial::Kind::returned:
        if (trial.text == "0")
          all.add(
              Finding::error("task module " + module + " defines no task", "register some in STEM_MODULE"));
        else
          all.add(Finding::ok(module + " (" + trial.text + (trial.text == "1" ? " task)" : " tasks)")));
        break;
      case Trial::Kind::failed:
        all.add(Finding::error(trial.text,
                               trial.code == Exit::no_permission
                                   ? "make it readable for " + for_whom(s) + ", and the directories above it"
                                   : "correct STEM_WORKER_APP or --app"));
        break;
      case Trial::Kind::died:
        all.add(Finding::error("task module " + module + " crashes when it is loaded" +
                                   (trial.signal ? " (signal " + std::to_string(trial.signal) + ")" : ""),
                               "look for what its static objects do"));
        break;
      default:
        all.add(Finding::error(
            "task module " + module + " was not loaded within " + format_duration(load_patience),
            "look for what its static objects do"));
    }
  }
  return all;
}

constexpr Check checks[] = {
    {"program", section, program},
    {"work", section, something_to_run},
    {"command", section, command},
    {"modules", section, modules},
};

}  // namespace

std::span<const Check> program_checks() {
  return checks;
}

}  // namespace stem
