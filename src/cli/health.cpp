#include <algorithm>
#include <cstdio>
#include <iostream>

#include "cli/commands.hpp"
#include "cli/table.hpp"
#include "diagnosis/dependency.hpp"

namespace stem::cli {
namespace {

struct Options {
  std::string broker, backend;
  bool skip_backend = false, allow_insecure = false;
};

std::string milliseconds(const std::optional<Duration>& latency) {
  if (!latency) return "-";
  char text[32];
  std::snprintf(text, sizeof text, "%.2f ms", static_cast<double>(latency->count()) / 1000);
  return text;
}

/// As the environment has it, with the command line over it.
Config configure(const Options& options, const Common& common) {
  auto environment = load_environment(common);
  if (!options.broker.empty()) environment["STEM_BROKER_URL"] = options.broker;
  if (!options.backend.empty()) environment["STEM_RESULT_BACKEND_URL"] = options.backend;
  auto config = load_config(environment);
  if (!options.broker.empty())
    config.broker_url = options.broker;  // a credential stands over the environment
  if (!options.backend.empty()) config.result_backend_url = options.backend;
  if (options.allow_insecure) config.tls.allow_insecure = true;
  return config;
}

int show(const Options& options, const Common& common) {
  const auto config = configure(options, common);
  const auto all = look_at_dependencies(config, !options.skip_backend, Clock::system().wall());
  if (common.json) {
    std::cout << to_json(all, config.tls).dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
  } else {
    Table table({"COMPONENT", "STATUS", "LATENCY", "ADDRESS", "WHAT IS FOUND"});
    for (const auto& one : all)
      table.add({one.component, one.finding.skipped ? "off" : std::string(name_of(one.finding.severity)),
                 milliseconds(one.latency), one.address.empty() ? "-" : one.address, one.finding.text});
    std::cout << table.text();
    for (const auto& one : all)
      if (one.finding.severity != Severity::ok) std::cout << one.component << ": " << one.finding.fix << '\n';
  }
  const bool failed = std::any_of(all.begin(), all.end(),
                                  [](const auto& one) { return one.finding.severity == Severity::error; });
  return static_cast<int>(failed ? Exit::unavailable : Exit::ok);
}

}  // namespace

Work define_health(CLI::App& app, Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("--broker", options->broker, "ask this broker (STEM_BROKER_URL)")->type_name("URL");
  app.add_option("--backend", options->backend, "ask this result backend (STEM_RESULT_BACKEND_URL)")
      ->type_name("URL");
  app.add_flag("--skip-backend", options->skip_backend, "ask neither result backend nor schedule store");
  app.add_flag("--allow-insecure", options->allow_insecure,
               "take every server for the right one (STEM_TLS_ALLOW_INSECURE)");
  return [options, &common] { return show(*options, common); };
}

}  // namespace stem::cli
