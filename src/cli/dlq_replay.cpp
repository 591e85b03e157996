#include <iostream>
#include <span>

#include "cli/commands.hpp"
#include "cli/dead_letters.hpp"
#include "cli/question.hpp"
#include "core/name.hpp"
#include "storage/open.hpp"

namespace stem::cli {
namespace {

constexpr std::size_t shown = 10;
constexpr std::size_t moved_at_once = 500;  // so that workers get their turn in between

struct Options {
  std::vector<std::string> ids;
  std::string queue, task, since;
  int limit = 0;
  bool all = false, yes = false, dry_run = false;
};

/// What the two commands differ in.
struct Deed {
  const char *ask, *done;
  std::size_t (Broker::*act)(std::span<const std::string>);
  bool replays;
};
constexpr Deed replay{"Replay", "replayed", &Broker::replay, true};
constexpr Deed purge{"Purge", "purged", &Broker::purge, false};

std::string jobs_of(std::size_t count) {
  return std::to_string(count) + (count == 1 ? " dead letter" : " dead letters");
}

DeadFilter filter_of(const Options& options, WallTime now) {
  DeadFilter filter{.ids = options.ids,
                    .queue = options.queue,
                    .task = options.task,
                    .since = {},
                    .limit = static_cast<std::size_t>(options.limit)};
  if (!options.since.empty()) filter.since = since_from(options.since, now);
  if (!options.all && filter.ids.empty() && filter.queue.empty() && filter.task.empty() && !filter.since &&
      filter.limit == 0)
    throw Error(Exit::usage,
                "which dead letters? name their ids, or say --queue, --task, --since or --limit, or --all");
  return filter;
}

int carry_out(const Deed& deed, const Options& options, const Common& common) {
  const auto now = Clock::system().wall();
  const auto filter = filter_of(options, now);
  if (!options.yes && !options.dry_run) require_terminal();
  const auto config = load_config(common);
  const auto signer = deed.replays ? PayloadSigner::maybe(config) : std::nullopt;
  const auto storage = open_storage(config);

  std::vector<DeadJob> jobs;
  std::vector<std::string> ids;
  auto refused = Json::array();
  for (auto& job : find_dead(*storage.broker, filter)) {
    if (const auto fault =
            deed.replays ? replay_fault(job, signer ? &*signer : nullptr, now) : std::nullopt) {
      std::cerr << "stem: job " << printable(job.id) << " is not replayed: " << *fault << '\n';
      refused.push_back({{"id", job.id}, {"reason", *fault}});
      continue;
    }
    ids.push_back(job.id);
    jobs.push_back(std::move(job));
  }
  if (!common.json && !jobs.empty()) {
    const auto count = jobs.size();
    if (count > shown) jobs.resize(shown);
    std::cout << dead_table(jobs, now)
              << (count > shown ? "and " + std::to_string(count - shown) + " more\n" : "") << std::flush;
  }
  const bool act = !options.dry_run && !ids.empty();
  if (act && !options.yes && !confirmed(std::string(deed.ask) + " " + jobs_of(ids.size()) + "?")) {
    std::cerr << "nothing was changed\n";
    return static_cast<int>(Exit::unhealthy);
  }
  // The oldest first, as they would have run.
  std::vector<std::string> order(ids.rbegin(), ids.rend());
  std::size_t moved = 0;
  for (std::span<const std::string> rest = order; act && !rest.empty();) {
    const auto some = rest.first(std::min(rest.size(), moved_at_once));
    if (deed.replays) forget_failures(*storage.results, some);
    moved += (*storage.broker.*deed.act)(some);
    rest = rest.subspan(some.size());
  }
  if (common.json) {
    std::cout << Json{{"jobs", ids}, {deed.done, moved}, {"refused", refused}, {"applied", act}}.dump(
                     2, ' ', false, Json::error_handler_t::replace)
              << '\n';
  } else if (ids.empty()) {
    std::cout << (refused.empty() ? "no dead letter matches\n" : "");
  } else {
    std::cout << (act ? jobs_of(moved) : jobs_of(ids.size()) + " would be") << ' ' << deed.done
              << (act ? "" : " (dry run: nothing was done)") << '\n';
  }
  return static_cast<int>(refused.empty() ? Exit::ok : Exit::unhealthy);
}

Work define(const Deed& deed, CLI::App& app, Common& common, const std::string& verb) {
  auto options = std::make_shared<Options>();
  app.add_option("ID", options->ids, "dead letters to " + verb);
  app.add_option("-q,--queue", options->queue, "of this queue only")->type_name("NAME");
  app.add_option("--task", options->task, "of this task only")->type_name("NAME");
  app.add_option("--since", options->since, "those that died so long ago at the most (2h), or since a time")
      ->type_name("WHEN");
  app.add_option("--limit", options->limit, "the newest so many (all)")
      ->type_name("N")
      ->check(between(1, 1'000'000'000))
      ->default_str("");
  app.add_flag("--all", options->all, "all of all queues, where nothing else is said");
  app.add_flag("--dry-run", options->dry_run, "show which, and change nothing");
  app.add_flag("-y,--yes", options->yes, "do not ask");
  return [&deed, options, &common] { return carry_out(deed, *options, common); };
}

}  // namespace

Work define_dlq_replay(CLI::App& app, Common& common) {
  return define(replay, app, common, "replay");
}
Work define_dlq_purge(CLI::App& app, Common& common) {
  return define(purge, app, common, "purge");
}

}  // namespace stem::cli
