#include <algorithm>
#include <iostream>

#include "cli/commands.hpp"
#include "cli/fleet_options.hpp"
#include "cli/fleet_view.hpp"
#include "cli/node_view.hpp"
#include "cli/table.hpp"

namespace stem::cli {
namespace {

struct Options : FleetOptions {
  std::vector<std::string> parts;
};

void indent(const std::string& text) {
  for (std::size_t at = 0; at < text.size();) {
    const auto end = text.find('\n', at);
    std::cout << "    " << text.substr(at, end - at) << '\n';
    at = end + 1;
  }
}

void show_jobs(const char* title, const Json& jobs, bool running) {
  std::cout << "  " << title << ": " << jobs.size() << '\n';
  if (jobs.empty()) return;
  std::vector<std::string> headings{"ID", "TASK", "QUEUE", "ATTEMPT"};
  if (running) headings.insert(headings.end(), {"FOR", "STATUS"});
  // The worker's own, where handlers run on threads.
  const bool in_children = running && std::any_of(jobs.begin(), jobs.end(), [](const Json& job) {
                             return job.is_object() && job.contains("pid");
                           });
  if (in_children) headings.emplace_back("PID");
  Table table(headings);
  for (const auto& job : jobs) {
    if (!job.is_object()) continue;
    std::vector<std::string> row{text_cell(job, "id"), text_cell(job, "task"), text_cell(job, "queue"),
                                 number_cell(job, "attempt")};
    if (running) row.insert(row.end(), {length_cell(job, "runtimeMs"), text_cell(job, "status")});
    if (in_children) row.push_back(number_cell(job, "pid"));
    table.add(std::move(row));
  }
  indent(table.text());
}

void show(const FleetAnswer& answer) {
  std::cout << answer.node << (answer.host.empty() ? "" : " on " + plain(answer.host));
  if (!answer.ok()) {
    std::cout << ": " << word_of(answer.kind) << ": " << plain(answer.error) << '\n';
    return;
  }
  std::cout << '\n';
  const auto& all = answer.payload;
  const auto part = [&](const char* key) -> const Json* {
    const auto found = all.find(key);
    return found == all.end() ? nullptr : &*found;
  };
  if (const auto* active = part("active")) show_jobs("active", *active, true);
  if (const auto* reserved = part("reserved")) show_jobs("reserved", *reserved, false);
  if (const auto* scheduled = part("scheduled"); scheduled && scheduled->is_object()) {
    std::cout << "  scheduled:";
    for (const auto& [queue, count] : scheduled->items())
      std::cout << ' ' << plain(queue) << ' ' << plain(count.dump());
    std::cout << (scheduled->empty() ? " 0\n" : "\n");
  }
  if (part("registered")) std::cout << "  registered: " << list_cell(all, "registered") << '\n';
  std::cout << "  paused: " << list_cell(all, "pausedQueues") << '\n';
  if (const auto* revoked = part("revoked"); revoked && revoked->is_array()) {
    std::cout << "  revoked: " << number_cell(all, "revokedCount") << '\n';
    if (revoked->empty()) return;
    Table table({"ID", "BY", "AT", "UNTIL", "REASON"});
    for (const auto& one : *revoked)
      if (one.is_object())
        table.add({text_cell(one, "taskId"), text_cell(one, "requestedBy"), text_cell(one, "issuedAt"),
                   text_cell(one, "expiresAt"), text_cell(one, "reason")});
    indent(table.text());
  }
}

int inspect(const Options& options, const Common& common) {
  const auto config = fleet_config(options, common);
  Json payload{{"namespace", config.name_space}};
  if (!options.parts.empty()) payload["parts"] = options.parts;
  const auto answers = open_fleet(config).ask("inspect", payload, options.workers, options.timeout);
  if (common.json) {
    std::cout << answers_json(answers);
  } else {
    if (answers.empty()) std::cout << answers_table(answers, config.name_space, {}, {});
    for (const auto& answer : answers) show(answer);
  }
  return status_of(answers, static_cast<int>(Exit::unhealthy));
}

}  // namespace

Work define_worker_inspect(CLI::App& app, Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("PART", options->parts, "active, reserved, scheduled, registered, revoked (all)")
      ->type_name("PART")
      ->check(CLI::IsMember({"active", "reserved", "scheduled", "registered", "revoked"}).description(""));
  add_fleet(app, *options);
  add_fleet_timeout(app, *options);
  return [options, &common] { return inspect(*options, common); };
}

}  // namespace stem::cli
