#pragma once

#include "cli/command.hpp"

/// One function a command, each in the file of its name. Each fills the parser and returns what runs after
/// parsing.
namespace stem::cli {

using Work = std::function<int()>;

Work define_worker_start(CLI::App& app, Common& common);
Work define_worker_multi(CLI::App& app, Common& common);
std::vector<std::string> prepare_worker_multi(std::vector<std::string> arguments);
Work define_worker_healthcheck(CLI::App& app, Common& common);
Work define_worker_diagnose(CLI::App& app, Common& common);
Work define_worker_ping(CLI::App& app, Common& common);
Work define_worker_status(CLI::App& app, Common& common);
Work define_worker_stats(CLI::App& app, Common& common);
Work define_worker_inspect(CLI::App& app, Common& common);
Work define_worker_revoke(CLI::App& app, Common& common);
Work define_worker_pause(CLI::App& app, Common& common);
Work define_worker_resume(CLI::App& app, Common& common);
Work define_worker_shutdown(CLI::App& app, Common& common);
Work define_scheduler_start(CLI::App& app, Common& common);
Work define_scheduler_healthcheck(CLI::App& app, Common& common);
Work define_schedule_list(CLI::App& app, Common& common);
Work define_schedule_show(CLI::App& app, Common& common);
Work define_schedule_apply(CLI::App& app, Common& common);
Work define_schedule_delete(CLI::App& app, Common& common);
Work define_schedule_enable(CLI::App& app, Common& common);
Work define_schedule_disable(CLI::App& app, Common& common);
Work define_schedule_dry_run(CLI::App& app, Common& common);
Work define_enqueue(CLI::App& app, Common& common);
Work define_result(CLI::App& app, Common& common);
Work define_tasks_ls(CLI::App& app, Common& common);
Work define_queues(CLI::App& app, Common& common);
Work define_dlq_list(CLI::App& app, Common& common);
Work define_dlq_show(CLI::App& app, Common& common);
Work define_dlq_replay(CLI::App& app, Common& common);
Work define_dlq_purge(CLI::App& app, Common& common);
Work define_observe_queues(CLI::App& app, Common& common);
Work define_observe_workers(CLI::App& app, Common& common);
Work define_observe_dlq(CLI::App& app, Common& common);
Work define_observe_schedules(CLI::App& app, Common& common);
Work define_observe_metrics(CLI::App& app, Common& common);
Work define_top(CLI::App& app, Common& common);
Work define_health(CLI::App& app, Common& common);
Work define_routing_dump(CLI::App& app, Common& common);

}  // namespace stem::cli
