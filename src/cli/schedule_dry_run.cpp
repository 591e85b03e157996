#include <iostream>

#include "cli/commands.hpp"
#include "cli/opened_book.hpp"
#include "cli/schedule_view.hpp"

namespace stem::cli {
namespace {

struct Options {
  std::string name, spec, from, timezone;
  int count = 5;
};

ScheduleEntry chosen(const Options& options, const Common& common, WallTime from) {
  ScheduleEntry entry;
  if (options.spec.empty()) {
    if (options.name.empty())
      throw Error(Exit::usage, "what is to be tried? name a schedule, or give one with --spec");
    OpenedBook book(load_config(common), OpenedBook::For::reading);
    entry = require_schedule(*book, options.name).entry;
  } else {
    entry.schedule = Schedule::parse_text(options.spec);
    entry.since = from;
  }
  if (!options.timezone.empty()) entry.zone = TimeZone::named(options.timezone);
  return entry;
}

int dry_run(const Options& options, const Common& common) {
  const auto from = options.from.empty() ? Clock::system().wall() : parse_time(options.from);
  const auto entry = chosen(options, common, from);
  auto rows = Json::array();
  // When it came into force does not bound what is asked here: --from does.
  const auto next = [&](WallTime after) {
    const auto slot = entry.schedule.next(after, entry.zone, entry.since);
    return slot && entry.expire_at && *slot >= *entry.expire_at ? std::nullopt : slot;
  };
  auto slot = next(from);
  for (int left = options.count; left > 0 && slot; --left, slot = next(*slot)) {
    const auto due = entry.due(*slot);
    if (common.json)
      rows.push_back(
          {{"slot", format_time(*slot)}, {"runAt", format_time(due)}, {"local", in_zone(due, entry.zone)}});
    else
      std::cout << in_zone(due, entry.zone) << '\n';
  }
  if (common.json) std::cout << rows.dump(2) << '\n';
  if (!slot && !common.json) std::cerr << "it ends there\n";
  return 0;
}

}  // namespace

Work define_schedule_dry_run(CLI::App& app, Common& common) {
  auto options = std::make_shared<Options>();
  auto* name = app.add_option("NAME", options->name, "a schedule that is there");
  app.add_option("--spec", options->spec, "or this one: every:30s, a cron line, or a JSON object")
      ->type_name("TEXT")
      ->excludes(name);
  app.add_option("--count", options->count, "how many runs to show (5)")
      ->type_name("N")
      ->check(between(1, 100000))
      ->default_str("");
  app.add_option("--from", options->from, "runs after this time (now)")->type_name("TIME");
  app.add_option("--timezone", options->timezone, "with the clocks of this zone")->type_name("ZONE");
  return [options, &common] { return dry_run(*options, common); };
}

}  // namespace stem::cli
