#include <filesystem>
#include <iostream>

#include "cli/commands.hpp"
#include "cli/metrics_view.hpp"
#include "core/name.hpp"
#include "service/control_socket.hpp"
#include "service/directories.hpp"
#include "service/metrics_exporter.hpp"
#include "service/prometheus_page.hpp"

namespace stem::cli {
namespace {

struct Options {
  std::string node, runtime_dir, listen;
  bool prometheus = false, serve = false;
  Duration idle{-1};
};

int observe_metrics(const Options& options, const Common& common) {
  const auto refuse = [](const std::string& why) { throw Error(Exit::usage, why); };
  if (options.prometheus && common.json) refuse("--prometheus and --json are two forms; say one");
  if (options.serve && (options.prometheus || common.json))
    refuse("--serve answers with the Prometheus page; it takes neither --prometheus nor --json");
  if (!options.serve && (!options.listen.empty() || options.idle.count() >= 0))
    refuse("--listen and --idle belong to --serve");

  const auto environment = load_environment(common);
  auto config = Config::from(environment);
  if (!options.runtime_dir.empty())
    config.runtime_dir = std::filesystem::absolute(options.runtime_dir).lexically_normal();
  const auto node = !options.node.empty() ? options.node : !config.node.empty() ? config.node : "worker";
  require_name("node", node);
  const auto socket = control_socket_path(runtime_dir(config, environment), node);

  if (options.serve) {
    MetricsExporterSettings settings{.node = node, .control_socket = socket};
    if (!options.listen.empty()) settings.listen = ListenAddress::from(options.listen);
    // By default, one that systemd starts at the next scrape goes when nobody scrapes; one of a person's own
    // stays.
    if (options.idle.count() >= 0 ? options.idle.count() > 0 : !settings.listen)
      settings.idle = options.idle.count() > 0 ? options.idle : Duration(std::chrono::minutes{1});
    return run_metrics_exporter(settings);
  }

  const auto snapshot = ask_metrics(socket);
  if (common.json)
    std::cout << to_json(snapshot).dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
  else
    std::cout << (options.prometheus ? prometheus_page(snapshot) : metrics_table(snapshot));
  return 0;
}

}  // namespace

Work define_observe_metrics(CLI::App& app, Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("-n,--node", options->node,
                 "name of the node on this machine; `scheduler` for the scheduler (STEM_WORKER_NODE)")
      ->type_name("NAME");
  app.add_option("--runtime-dir", options->runtime_dir, "directory of the control socket (STEM_RUNTIME_DIR)")
      ->type_name("DIR");
  app.add_flag("--prometheus", options->prometheus, "print the page that Prometheus reads");
  app.add_flag("--serve", options->serve,
               "serve that page over HTTP, at the sockets that systemd hands over or at --listen");
  app.add_option("--listen", options->listen, "serve at a port, ADDRESS:PORT or unix:/PATH")
      ->type_name("ADDRESS");
  add_duration(app, "--idle", options->idle,
               "end when nobody has come for so long; 0 = never (1m, with --listen 0)");
  return [options, &common] { return observe_metrics(*options, common); };
}

}  // namespace stem::cli
