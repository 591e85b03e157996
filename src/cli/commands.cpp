#include "cli/commands.hpp"

namespace stem::cli {

const std::vector<Command>& commands() {
  static const std::vector<Command> all{
      {"worker start", "run one worker in this process", define_worker_start},
      {"worker multi", "start, stop and show many workers", define_worker_multi, prepare_worker_multi},
      {"worker healthcheck", "tell whether a worker is alive and makes progress", define_worker_healthcheck},
      {"worker diagnose", "find out why a worker does not run, and what to do", define_worker_diagnose},
      {"worker ping", "ask workers, through the broker, whether they answer", define_worker_ping},
      {"worker status", "show which workers live, by their heartbeats", define_worker_status},
      {"worker stats", "show what workers have done", define_worker_stats},
      {"worker inspect", "show what workers run, hold, know and obey", define_worker_inspect},
      {"worker revoke", "cancel jobs", define_worker_revoke},
      {"worker pause", "take nothing from queues until they are resumed", define_worker_pause},
      {"worker resume", "take jobs from paused queues again", define_worker_resume},
      {"worker shutdown", "tell workers to end", define_worker_shutdown},
      {"scheduler start", "run one scheduler in this process", define_scheduler_start},
      {"scheduler healthcheck", "tell whether a scheduler is alive and makes progress",
       define_scheduler_healthcheck},
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
      {"dlq list", "show dead letters, and why each was given up", define_dlq_list},
      {"dlq show", "show all there is to know of dead letters", define_dlq_show},
      {"dlq replay", "put dead letters back into their queues", define_dlq_replay},
      {"dlq purge", "delete dead letters", define_dlq_purge},
      {"observe queues", "show how much waits in each queue, and who serves it", define_observe_queues},
      {"observe workers", "show which workers live, and how quickly they get on", define_observe_workers},
      {"observe dlq", "count dead letters by queue, task and reason", define_observe_dlq},
      {"observe schedules", "show what runs next, how punctually, and which scheduler leads",
       define_observe_schedules},
      {"observe metrics", "show what a node on this machine counts, or serve it to Prometheus",
       define_observe_metrics},
      {"top", "a live screen of queues, tasks and workers", define_top},
      {"health", "ask everything that jobs depend on, and tell how it fares", define_health},
      {"routing dump", "show which tasks go into which queues", define_routing_dump},
  };
  return all;
}

}  // namespace stem::cli
