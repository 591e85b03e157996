#include "service/daemon.hpp"

#include <unistd.h>

#include <filesystem>
#include <optional>
#include <stem/error.hpp>

#include "service/directories.hpp"
#include "service/main_loop.hpp"
#include "service/node_template.hpp"
#include "service/pidfile.hpp"

namespace stem {
namespace {

std::unique_ptr<Pidfile> lock_node(const ServiceSettings& settings) {
  const auto path = settings.runtime_dir + "/" + settings.node + ".lock";
  try {
    auto lock = std::make_unique<Pidfile>(path);
    lock->write();
    return lock;
  } catch (const Error& error) {
    const auto holder = read_pidfile(path);
    if (error.code() != Exit::try_again || !holder.running()) throw;
    throw Error(Exit::try_again, "node " + settings.node + " runs already (pid " +
                                     std::to_string(holder.pid) + ", lock " + path +
                                     "); stop it first, or give this one another name");
  }
}

int run_with(const ServiceSettings& settings, Notify& notify,
             const std::function<std::unique_ptr<Workload>(ServiceOutputs)>& make) {
  const auto owner = Owner::self();
  if (!settings.logfile.empty()) make_parent_directories(settings.logfile, owner, settings.private_dirs);
  LogOutput log({.node = settings.node,
                 .file = settings.logfile,
                 .level = settings.log_level,
                 .colour = settings.colour});
  make_directories(settings.runtime_dir, owner, settings.private_dirs);
  if (!settings.pidfile.empty()) make_parent_directories(settings.pidfile, owner, settings.private_dirs);

  if (settings.metrics_listen && settings.metrics_listen->is_unix())
    make_parent_directories(settings.metrics_listen->path, owner, settings.private_dirs);

  // One worker a node and runtime directory, with or without a pidfile of its own. Held until all else has
  // ended.
  const auto lock = lock_node(settings);
  std::optional<Pidfile> pidfile;
  if (!settings.pidfile.empty()) {
    pidfile.emplace(settings.pidfile);
    pidfile->write();
  }
  MainLoop loop(settings, notify, log);
  loop.on_abandon = [&] {
    if (pidfile) unlink(pidfile->path().c_str());
    unlink(lock->path().c_str());
  };
  const auto workload = make({notify, log});
  return loop.run(*workload);
}

}  // namespace

ServiceSettings ServiceSettings::from(const Config& config, const Environment& environment) {
  ServiceSettings settings;
  if (!config.node.empty()) settings.node = config.node;
  const auto marks = NodeTemplate::now(settings.node);
  const auto path = [marks](const std::string& text, int process = 0) {
    auto own = marks;
    own.process = process;
    return text.empty() ? text : std::filesystem::absolute(own.expand(text)).lexically_normal().string();
  };
  settings.pidfile = path(config.pidfile);
  settings.logfile = path(config.logfile);
  settings.child_logfile = [path, text = config.logfile](int process) { return path(text, process); };
  settings.log_level = config.log_level;
  settings.runtime_dir =
      std::filesystem::absolute(stem::runtime_dir(config, environment)).lexically_normal().string();
  settings.drain_limit = config.drain_limit;
  settings.name_space = config.name_space;
  if (!config.metrics_listen.empty()) {
    settings.metrics_listen = ListenAddress::from(config.metrics_listen);
    settings.metrics_listen->path = path(settings.metrics_listen->path);
  }
  return settings;
}

int run_service(const ServiceSettings& settings,
                const std::function<std::unique_ptr<Workload>(ServiceOutputs)>& make) {
  auto notify = Notify::from_environment();
  try {
    return run_with(settings, notify, make);
  } catch (const Error& error) {
    const auto status = static_cast<int>(error.code());
    notify.leaving(status, error.what());
    throw;
  }
}

}  // namespace stem
