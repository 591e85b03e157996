#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "cli/commands.hpp"
#include "cli/diagnosis_view.hpp"
#include "core/name.hpp"
#include "diagnosis/diagnosis.hpp"
#include "service/directories.hpp"
#include "service/env_file.hpp"

namespace stem::cli {
namespace {

struct Options {
  std::string node, pidfile, logfile, supervisor, runtime_dir;
  bool user = false, system = false;
};

std::string absolute(const std::string& path) {
  return path.empty() ? path : std::filesystem::absolute(path).lexically_normal().string();
}

/// What a wrong environment says is a finding, not a reason to stop: so nothing here reads the files, but for
/// the names.
DiagnosisQuery query_of(const Options& options, const Common& common) {
  DiagnosisQuery query;
  auto environment = process_environment();
  const auto value = [&](const char* name) {
    const auto found = environment.find(name);
    return found == environment.end() ? std::string() : found->second;
  };
  query.env_file = absolute(common.env_file);
  auto named = environment;
  try {
    if (!query.env_file.empty()) EnvFile::read(query.env_file).apply_to(named);
  } catch (const Error& error) {
    // A wrong line is what we are here for; a wrong name of the file is a mistake on the command line.
    if (error.code() == Exit::no_input) throw;
  }
  query.node = !options.node.empty()                ? options.node
               : named.contains("STEM_WORKER_NODE") ? named["STEM_WORKER_NODE"]
                                                    : "worker";
  require_node_name(query.node);
  query.pidfile = absolute(options.pidfile);
  query.logfile = absolute(options.logfile);
  query.supervisor.kind = SupervisorSettings::kind_of(!options.supervisor.empty() ? options.supervisor
                                                                                  : value("STEM_SUPERVISOR"));
  if (options.user) query.supervisor.reach = SupervisorSettings::Reach::user;
  if (options.system) query.supervisor.reach = SupervisorSettings::Reach::system;
  Config config;
  config.runtime_dir = !options.runtime_dir.empty()         ? absolute(options.runtime_dir)
                       : named.contains("STEM_RUNTIME_DIR") ? named["STEM_RUNTIME_DIR"]
                                                            : "";
  query.supervisor.runtime_dir = runtime_dir(config, environment);
  query.supervisor.environment = std::move(environment);
  return query;
}

DiagnosisLook look_of(const Common& common) {
  DiagnosisLook look;
  look.all = common.verbose > 0;
  if (!isatty(STDOUT_FILENO)) return look;
  winsize size{};
  look.columns = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
  look.colour = !common.no_color && !std::getenv("NO_COLOR");
  return look;
}

int diagnose_node(const Options& options, const Common& common) {
  const auto diagnosis = diagnose(survey(query_of(options, common)));
  if (common.json)
    std::cout << to_json(diagnosis).dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
  else
    std::cout << diagnosis_text(diagnosis, look_of(common));
  return static_cast<int>(diagnosis.worst() == Severity::error ? Exit::unhealthy : Exit::ok);
}

}  // namespace

Work define_worker_diagnose(CLI::App& app, Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("-n,--node", options->node, "name of the node (STEM_WORKER_NODE)")->type_name("NAME");
  app.add_option("--pidfile", options->pidfile, "the worker's pidfile, if it is not where it is expected")
      ->type_name("FILE");
  app.add_option("--logfile", options->logfile, "the worker's log file, if it is not where it is expected")
      ->type_name("FILE");
  app.add_option("--runtime-dir", options->runtime_dir, "directory of the control socket (STEM_RUNTIME_DIR)")
      ->type_name("DIR");
  app.add_option("--supervisor", options->supervisor, "systemd, start-stop-daemon or auto (STEM_SUPERVISOR)")
      ->type_name("NAME");
  auto* user = app.add_flag("--user", options->user, "a node of this user's own service manager");
  app.add_flag("--system", options->system, "a node of the system's service manager")->excludes(user);
  return [options, &common] { return diagnose_node(*options, common); };
}

}  // namespace stem::cli
