#include <doctest/doctest.h>

#include <stem/error.hpp>

#include "supervisor/node_options.hpp"

using namespace stem;

namespace {

NodeOptions everything() {
  NodeOptions options;
  options.command = "dart run bin/worker.dart";
  options.queues = {"mail", "slow"};
  options.broadcasts = {"caches"};
  options.concurrency = 4;
  options.pool = "processes";
  options.max_tasks_per_child = 100;
  options.max_memory_per_child = "512M";
  options.env_file = "/etc/worker.env";
  options.pidfile = "/run/stem/%n.pid";
  options.logfile = "/var/log/stem/%n%I.log";
  options.workdir = "/srv/%n";
  options.metrics_listen = "unix:/run/stem/%n.metrics";
  options.private_dirs = true;
  options.properties = {"MemoryMax=1G"};
  return options;
}

}  // namespace

TEST_CASE("node options: what is said anew replaces, the rest is remembered") {
  NodeOptions newer;
  newer.concurrency = 16;
  auto expected = everything();
  expected.concurrency = 16;
  CHECK(merged(everything(), newer) == expected);
  CHECK(merged(everything(), {}) == everything());
  CHECK(merged({}, everything()) == everything());
}

TEST_CASE("node options: limits of children are forgotten with the pool of processes") {
  NodeOptions threads;
  threads.pool = "threads";
  const auto options = merged(everything(), threads);
  CHECK(options.pool == "threads");
  CHECK(options.max_tasks_per_child == 0);
  CHECK(options.max_memory_per_child.empty());
}

TEST_CASE("node options: task modules replace a program, and a program task modules") {
  NodeOptions modules, program;
  modules.apps = {"/a.so"};
  program.command = "worker.py";
  CHECK(merged(modules, program) == program);
  CHECK(merged(program, modules) == modules);
}

TEST_CASE("node options: they come back from what is written, whatever is in them") {
  auto options = everything();
  options.command = "a \"b\" \\ 'c' % $ \n \xc3\xa9";
  CHECK(node_options_from_json(Json::parse(to_json(options).dump())) == options);
  CHECK(to_json({}).empty());
  CHECK_THROWS_WITH_AS(node_options_from_json({{"concurrency", "four"}}), doctest::Contains("malformed"),
                       Error);
}

TEST_CASE("node options: the worker's arguments") {
  CHECK(worker_arguments(everything()) == std::vector<std::string>{"--command",
                                                                   "dart run bin/worker.dart",
                                                                   "--queue",
                                                                   "mail",
                                                                   "--queue",
                                                                   "slow",
                                                                   "--broadcast",
                                                                   "caches",
                                                                   "--concurrency",
                                                                   "4",
                                                                   "--pool",
                                                                   "processes",
                                                                   "--max-tasks-per-child",
                                                                   "100",
                                                                   "--max-memory-per-child",
                                                                   "512M",
                                                                   "--logfile",
                                                                   "/var/log/stem/%n%I.log",
                                                                   "--workdir",
                                                                   "/srv/%n",
                                                                   "--metrics-listen",
                                                                   "unix:/run/stem/%n.metrics",
                                                                   "--private"});
}

TEST_CASE("node options: what can be no argument is refused by name") {
  const auto refused = [](auto change, const char* words) {
    NodeOptions options;
    change(options);
    CHECK_THROWS_WITH_AS(validate(options), doctest::Contains(words), Error);
  };
  refused([](NodeOptions& o) { o.command = std::string("a\0b", 3); }, "--command");
  refused([](NodeOptions& o) { o.command = "\xff\xfe"; }, "not text in UTF-8");
  refused([](NodeOptions& o) { o.apps = {"\xc3"}; }, "--app");
  refused([](NodeOptions& o) { o.queues = {"../x"}; }, "queue");
  refused([](NodeOptions& o) { o.broadcasts = {"../x"}; }, "broadcast channel");
  refused([](NodeOptions& o) { o.concurrency = 5000; }, "--concurrency");
  refused([](NodeOptions& o) { o.pool = "fibers"; }, "--pool");
  refused([](NodeOptions& o) { o.max_tasks_per_child = -1; }, "--max-tasks-per-child");
  refused([](NodeOptions& o) { o.max_memory_per_child = "much"; }, "amount of memory");
  refused([](NodeOptions& o) { o.pool = "threads", o.max_tasks_per_child = 1; }, "threads have no children");
  refused([](NodeOptions& o) { o.pidfile = "run/x.pid"; }, "absolute");
  refused([](NodeOptions& o) { o.properties = {"User=root"}; }, "--property");
  validate(everything());
}
