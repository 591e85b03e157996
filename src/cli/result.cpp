#include <stem/stem.hpp>

#include "cli/commands.hpp"
#include "cli/result_view.hpp"

namespace stem::cli {
namespace {

struct Options {
  std::vector<std::string> ids;
  Duration timeout = std::chrono::seconds{60};
  bool wait = false;
};

int result(const Options& options, const Common& common) {
  Stem stem(load_config(common));
  int worst = 0;
  for (const auto& id : options.ids)
    worst = std::max(worst, options.wait ? print_result(id, stem.wait(id, options.timeout), common.json)
                                         : show_result(id, stem.result(id), common.json));
  return worst;
}

}  // namespace

Work define_result(CLI::App& app, Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("ID", options->ids, "ids of jobs")->required()->type_name("ID");
  app.add_flag("--wait", options->wait, "wait until each has ended");
  add_duration(app, "--timeout", options->timeout,
               "how long --wait waits for each (60s); exit 75 when it is over");
  return [options, &common] { return result(*options, common); };
}

}  // namespace stem::cli
