#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "cli/diagnosis_view.hpp"
#include "cli/node_place.hpp"
#include "core/name.hpp"
#include "diagnosis/diagnosis.hpp"
#include "service/directories.hpp"
#include "service/env_file.hpp"

namespace stem::cli {
namespace {

struct Options {
  std::string node, logfile;
  NodePlace place;
};

/// What a wrong environment says is a finding, not a reason to stop: so nothing here reads the files, but for
/// the names.
DiagnosisQuery query_of(const Options& options, const Common& common) {
  DiagnosisQuery query;
  auto environment = process_environment();
  const auto value = [&](const char* name) {
    const auto found = environment.find(name);
    return found == environment.end() ? std::string() : found->second;
  };
  query.env_file = absolute_path(common.env_file);
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
  query.pidfile = absolute_path(options.place.pidfile);
  query.logfile = absolute_path(options.logfile);
  const auto& supervisor = options.place.supervisor;
  query.supervisor.kind =
      SupervisorSettings::kind_of(!supervisor.empty() ? supervisor : value("STEM_SUPERVISOR"));
  options.place.choose_reach(query.supervisor);
  Config config;
  config.runtime_dir = !options.place.runtime_dir.empty()   ? absolute_path(options.place.runtime_dir)
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
  app.add_option("--logfile", options->logfile, "the worker's log file, if it is not where it is expected")
      ->type_name("FILE");
  options->place.add_options(app, "the worker's", "a node");
  options->place.add_supervisor(app);
  return [options, &common] { return diagnose_node(*options, common); };
}

}  // namespace stem::cli
