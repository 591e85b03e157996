#include <algorithm>
#include <iostream>

#include "cli/commands.hpp"
#include "cli/fleet_options.hpp"
#include "cli/fleet_view.hpp"

namespace stem::cli {
namespace {

constexpr std::size_t most_jobs = 1000;  // that fit into one message

struct Options : FleetOptions {
  std::vector<std::string> jobs, more_jobs;
  bool terminate = false;
  std::string reason, requester;
  Duration expires_in{};
};

void require_id(const std::string& id) {
  const auto is_plain = [](char c) { return c > 0x20 && c != 0x7f; };
  if (id.empty() || id.size() > 128 || !std::all_of(id.begin(), id.end(), is_plain))
    throw Error(Exit::usage, "an id of a job is 1 to 128 characters without blanks");
}

int revoke(const Options& options, const Common& common) {
  const auto config = fleet_config(options, common);
  if (options.jobs.size() > most_jobs)
    throw Error(Exit::usage, "no more than " + std::to_string(most_jobs) + " jobs at a time");
  const auto now = Clock::system().wall();
  std::vector<Revocation> all;
  auto list = Json::array();
  for (const auto& id : options.jobs) {
    require_id(id);
    Revocation one{.job = id,
                   .terminate = options.terminate,
                   .reason = options.reason,
                   .requester = options.requester,
                   .issued = now,
                   .expires = {}};
    if (options.requester.empty()) one.requester = this_person();
    if (options.expires_in > Duration::zero()) one.expires = now + options.expires_in;
    list.push_back(to_json(one, config.name_space));
    all.push_back(std::move(one));
  }
  auto fleet = open_fleet(config);
  // First remembered, then told: a worker that starts in between has read it.
  fleet.orders().revoke(all);
  const Json payload{
      {"namespace", config.name_space}, {"requester", all.front().requester}, {"revocations", list}};
  const auto answers = fleet.ask("revoke", payload, options.workers, options.timeout);
  if (common.json) {
    std::cout << answers_json(answers);
  } else if (answers.empty()) {
    std::cout << "revoked; no worker of namespace " << config.name_space
              << " lives, and those that start will obey\n";
  } else {
    std::cout << answers_table(answers, config.name_space, {"REVOKED", "RUNNING"},
                               [](const FleetAnswer& answer) {
                                 return std::vector<std::string>{number_cell(answer.payload, "revoked"),
                                                                 list_cell(answer.payload, "inflight")};
                               });
  }
  return status_of(answers, 0);
}

}  // namespace

Work define_worker_revoke(CLI::App& app, Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("ID", options->jobs, "ids of jobs that are not to run any more")->type_name("ID");
  app.add_option("-t,--task", options->more_jobs, "the same, one a time")
      ->type_name("ID")
      ->delimiter(',')
      ->allow_extra_args(false);
  app.add_flag("--terminate", options->terminate, "ask a handler that runs the job to stop");
  app.add_option("--reason", options->reason, "why; it stands in the job's result")->type_name("TEXT");
  app.add_option("--requester", options->requester, "who wants it (USER@HOST)")->type_name("TEXT");
  add_duration(app, "--expires-in", options->expires_in, "after this the job may run again (never)");
  add_fleet(app, *options);
  add_fleet_timeout(app, *options);
  return [options, &common] {
    options->jobs.insert(options->jobs.end(), options->more_jobs.begin(), options->more_jobs.end());
    if (options->jobs.empty())
      throw Error(Exit::usage, "name the jobs that are to be revoked; see `stem worker revoke --help`");
    return revoke(*options, common);
  };
}

}  // namespace stem::cli
