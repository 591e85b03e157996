#include "cli/commands.hpp"

namespace stem::cli {

const std::vector<Command>& commands() {
  static const std::vector<Command> all{
      {"worker start", "run one worker in this process", define_worker_start},
      {"worker multi", "start, stop and show many workers", define_worker_multi, prepare_worker_multi},
      {"worker healthcheck", "tell whether a worker is alive and makes progress", define_worker_healthcheck},
      {"worker diagnose", "find out why a worker does not run, and what to do", define_worker_diagnose},
      {"scheduler start", "run one scheduler in this process", define_scheduler_start},
      {"scheduler healthcheck", "tell whether a scheduler is alive and makes progress", define_scheduler_healthcheck},
      {"schedule list", "show all schedules, with their next and last runs", define_schedule_list},
      {"schedule show", "show schedules and what became of them", define_schedule_show},
      {"schedule apply", "add and change schedules by a file", define_schedule_apply},
      {"schedule delete", "delete schedules", define_schedule_delete},
      {"schedule enable", "let schedules run", define_schedule_enable},
      {"schedule disable", "let schedules rest", define_schedule_disable},
      {"schedule dry-run", "show when a schedule would run", define_schedule_dry_run},
      {"enqueue", "put jobs into a queue", define_enqueue},
      {"result", "show what became of jobs", define_result},
      {"tasks ls", "list the tasks that modules define", define_tasks_ls},
      {"queues", "show how much waits in each queue", define_queues},
      {"dlq list", "show dead jobs, and why they died", define_dlq_list},
      {"dlq show", "show all there is to know of dead jobs", define_dlq_show},
      {"dlq replay", "put dead jobs back into their queues", define_dlq_replay},
      {"dlq purge", "delete dead jobs", define_dlq_purge},
      {"routing dump", "show which tasks go into which queues", define_routing_dump},
  };
  return all;
}

}  // namespace stem::cli
