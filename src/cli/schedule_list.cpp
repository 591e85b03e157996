#include <iostream>

#include "cli/commands.hpp"
#include "cli/opened_book.hpp"
#include "cli/schedule_view.hpp"

namespace stem::cli {
namespace {

int list(const Common& common) {
  OpenedBook book(load_config(common), OpenedBook::For::reading);
  const auto all = book->all();
  if (common.json) {
    auto rows = Json::array();
    for (const auto& schedule : all) rows.push_back(to_json(schedule));
    std::cout << rows.dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
    return 0;
  }
  std::cout << (all.empty() ? "there is no schedule; `stem schedule apply --file FILE` makes some\n"
                            : schedule_table(all, Clock::system().wall()));
  return 0;
}

int show(const std::vector<std::string>& names, const Common& common) {
  OpenedBook book(load_config(common), OpenedBook::For::reading);
  for (const auto& name : names)
    std::cout << to_json(require_schedule(*book, name)).dump(2, ' ', false, Json::error_handler_t::replace)
              << '\n';
  return 0;
}

}  // namespace

Work define_schedule_list(CLI::App&, Common& common) {
  return [&common] { return list(common); };
}

Work define_schedule_show(CLI::App& app, Common& common) {
  auto names = std::make_shared<std::vector<std::string>>();
  app.add_option("NAME", *names, "schedules to show")->required();
  return [names, &common] { return show(*names, common); };
}

}  // namespace stem::cli
