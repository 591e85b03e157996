#include "cli/service_start.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <iostream>
#include <stem/json.hpp>

#include "core/listen_address.hpp"
#include "service/detach.hpp"
#include "service/directories.hpp"
#include "service/node_template.hpp"

namespace stem::cli {
namespace {

void enter_workdir(const std::string& workdir, const std::string& node) {
  if (workdir.empty()) return;
  const auto directory = NodeTemplate::now(node).expand(workdir);
  if (chdir(directory.c_str()) != 0)
    throw Error(errno == EACCES ? Exit::no_permission : Exit::no_input,
                "cannot enter the working directory " + directory + ": " + std::strerror(errno) +
                    "; make it or change --workdir");
}

}  // namespace

void ServiceStart::add_options(CLI::App& app, const std::string& marks, const std::string& service) {
  app.add_option("--pidfile", pidfile, "pidfile; " + marks)->type_name("TEMPLATE");
  app.add_option("--logfile", logfile, "log file, same marks; reopened on SIGHUP")->type_name("TEMPLATE");
  app.add_option("--workdir", workdir, "enter this directory first, same marks")->type_name("TEMPLATE");
  app.add_option("--runtime-dir", runtime_dir, "directory of the control socket (STEM_RUNTIME_DIR)")
      ->type_name("DIR");
  app.add_option("--metrics-listen", metrics_listen,
                 "serve metrics: a port, ADDRESS:PORT or unix:/PATH (STEM_METRICS_LISTEN)")
      ->type_name("ADDRESS");
  app.add_flag("--private", private_dirs, "make run and log directories 0750 instead of 0755");
  app.add_flag("--detach", detach, "run in the background; returns once the " + service + " is ready");
  add_duration(app, "--timeout", timeout, "how long --detach waits for the " + service + " to be ready (5m)");
}

void ServiceStart::configure(Config& config, const Common& common) const {
  if (!runtime_dir.empty()) config.runtime_dir = runtime_dir;
  if (!metrics_listen.empty()) config.metrics_listen = ListenAddress::from(metrics_listen).text();
  if (common.verbose) config.log_level = "debug";
}

int ServiceStart::start(const Config& config, const Common& common, const Run& run) const {
  enter_workdir(workdir, config.node);
  if (!detach) return run({});

  DetachSettings settings;
  settings.timeout = timeout;
  // It stays where it is told to be, not in `/`: paths of modules, or a file named in a URL, may be relative.
  if (char* here = get_current_dir_name()) {
    settings.workdir = here;
    free(here);
  }
  if (!config.logfile.empty()) {
    settings.logfile = NodeTemplate::now(config.node).expand(config.logfile);
    make_parent_directories(settings.logfile, Owner::self(), private_dirs);
  }
  const auto pid = start_detached(settings, run);
  if (common.json)
    std::cout << Json{{"node", config.node}, {"pid", pid}, {"state", "running"}} << '\n';
  else
    std::cout << config.node << " is running, pid " << pid << '\n';
  return 0;
}

}  // namespace stem::cli
