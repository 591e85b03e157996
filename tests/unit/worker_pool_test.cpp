#include <dirent.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <set>
#include <stem/stem.hpp>
#include <thread>

#include "awaited_record.hpp"
#include "child_process.hpp"
#include "core/descriptor.hpp"
#include "core/id.hpp"
#include "core/last_words.hpp"
#include "temp_dir.hpp"
#include "worker/attempts.hpp"
#include "worker/engine.hpp"
#include "worker/fleet.hpp"

using namespace stem;
using namespace std::chrono_literals;

namespace {

Descriptor handle_of(pid_t pid) {
  return Descriptor(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
}

/// Whether the process has ended, or ends in time.
bool ends(const Descriptor& process) {
  if (!process) return true;
  pollfd fd{process.get(), POLLIN, 0};
  return poll(&fd, 1, 20'000) == 1;
}

[[gnu::noinline]] int deeper(volatile char* last) {
  if (!last) return 0;
  volatile char here[4096];
  here[0] = *last;
  return deeper(here) + here[0];
}

/// A worker whose handlers run in processes, on a broker in the memory of this one.
struct Rig {
  Registry tasks;
  Config config;
  ForkServer::Settings settings;
  Storage storage;
  std::unique_ptr<ForkServer> forks;
  std::unique_ptr<Engine> engine;

  Rig() {
    static std::atomic<int> count{0};
    config.broker_url = "memory://pool-" + std::to_string(++count);
    config.pool = "processes";
    config.concurrency = 1;
    config.retry = {1ms, 1ms, 1, 0};
    config.node = "rig";
    settings.node = "rig";
    tasks.add("pid", [](TaskContext&) { return getpid(); });
    tasks.add("echo", [](TaskContext& job) { return job.args(); });
    tasks.add("hang", [](TaskContext&) {
      for (;;) pause();
    });
    tasks.add("wait", [](TaskContext& job) {
      job.progress(0, std::to_string(getpid()));
      const auto deadline = std::chrono::steady_clock::now() + 20s;
      while (!job.cancelled() && std::chrono::steady_clock::now() < deadline)
        std::this_thread::sleep_for(1ms);
      return job.cancelled();
    });
    tasks.add("die", [](TaskContext& job) { perish(job.args().at("how").get<std::string>()); });
  }
  ~Rig() {
    if (engine) engine->halt();
    engine.reset();
  }

  static void perish(const std::string& how) {
    volatile std::uintptr_t nowhere = 8;
    if (how == "segmentation fault") *reinterpret_cast<volatile int*>(nowhere) = 1;
    if (how == "abort") std::abort();
    if (how == "illegal instruction") __builtin_trap();
    if (how == "stack overflow") {
      volatile char first = 1;
      (void)deeper(&first);
    }
    if (how == "division") raise(SIGFPE);
    if (how == "terminate") std::terminate();
    if (how == "exit") _exit(3);
    if (how == "kill") kill(getpid(), SIGKILL);
  }

  Engine& start() {
    settings.children = config.concurrency;
    forks = std::make_unique<ForkServer>(tasks, settings);
    storage = open_storage(config);
    engine = std::make_unique<Engine>(engine_options(config), tasks, storage, Clock::system(), forks.get());
    engine->start();
    return *engine;
  }

  std::string enqueue(const std::string& task, Json args = Json::object(), int max_retries = 0) {
    Envelope envelope;
    envelope.id = new_id(Clock::system().wall());
    envelope.name = task;
    envelope.args = std::move(args);
    envelope.enqueued_at = Clock::system().wall();
    envelope.max_retries = max_retries;
    storage.broker->publish(std::span(&envelope, 1));
    return envelope.id;
  }
  template <class Wanted>
  Result record(const std::string& id, Wanted wanted) {
    return awaited_record(*storage.results, id, wanted);
  }
  Result end_of(const std::string& id) {
    return record(id, [](const Result& result) { return is_final(result.state); });
  }
  Result run(const std::string& task, Json args = Json::object(), int max_retries = 0) {
    return end_of(enqueue(task, std::move(args), max_retries));
  }
  pid_t pid() { return run("pid").as<pid_t>(); }
  /// The process in which the job `wait` runs.
  pid_t where(const std::string& id) {
    const auto result = record(id, [](const Result& one) { return one.meta.contains("progressNote"); });
    return std::stoi(result.meta.at("progressNote").get<std::string>());
  }
  std::vector<ChildView> children() const { return engine->children()->view(); }
};

}  // namespace

TEST_CASE("pool: a handler runs in a process of its own, and what it returns is the result") {
  Rig rig;
  rig.start();
  const auto child = rig.pid();
  CHECK(child != getpid());
  CHECK(rig.pid() == child);
  const auto view = rig.children();
  REQUIRE(view.size() == 1);
  CHECK(view[0].pid == child);
  CHECK(view[0].index == 1);
  CHECK(view[0].jobs == 2);
  CHECK(view[0].memory > 100'000);
}

TEST_CASE("pool: arguments and results of megabytes, of any bytes and numbers, come and go unchanged") {
  Rig rig;
  rig.tasks.add("repeat", [](TaskContext& job) {
    return std::string(job.args().at("times").get<std::size_t>(), 'x') +
           job.args().at("text").get<std::string>();
  });
  rig.start();
  const Json args{{"text", std::string(3 << 20, 'a')},
                  {"large", 18446744073709551615U},
                  {"small", -1.5e-300},
                  {"none", nullptr},
                  {"list", {1, 2.0, "drei", true}}};
  const auto echoed = rig.run("echo", args);
  CHECK(echoed.state == TaskState::succeeded);
  CHECK((echoed.value == args));
  const auto repeated = rig.run("repeat", {{"times", 9 << 20}, {"text", "end"}});
  const auto text = repeated.as<std::string>();
  CHECK(text.size() == (9 << 20) + 3);
  CHECK(text.ends_with("xend"));
}

TEST_CASE(
    "pool: what kills a handler fails its job alone, by its name, and the next job finds another process") {
  Rig rig;
  rig.start();
  const std::map<std::string, std::pair<std::string, std::string>> deaths = {
      {"segmentation fault", {"SIGSEGV", "was ended by SIGSEGV at address 0x8"}},
      {"abort", {"SIGABRT", "was ended by SIGABRT"}},
      {"illegal instruction", {"SIGILL", "was ended by SIGILL at address 0x"}},
      {"stack overflow", {"SIGSEGV", "was ended by SIGSEGV at address 0x"}},
      {"division", {"SIGFPE", "was ended by SIGFPE"}},
      {"terminate", {"SIGABRT", "was ended by SIGABRT"}},
      {"exit", {"process-exit", "with exit status 3"}},
      {"kill", {"SIGKILL", "was ended by SIGKILL; perhaps the out-of-memory killer"}},
  };
  std::set<pid_t> processes;
  for (const auto& [how, expected] : deaths) {
    CAPTURE(how);
    processes.insert(rig.pid());
    const auto result = rig.run("die", {{"how", how}});
    CHECK(result.state == TaskState::failed);
    REQUIRE(result.failure);
    CHECK(result.failure->type == expected.first);
    CHECK_MESSAGE(result.failure->message.find(expected.second) != std::string::npos,
                  result.failure->message);
    const bool noted = how != "exit" && how != "kill";
    CHECK(result.failure->stack.starts_with("#0 ") == noted);
    CHECK(result.failure->stack.size() <= 4096);
    CHECK(result.meta.at("deadReason") == "max-retries-exhausted");
  }
  CHECK(processes.size() == deaths.size());
  CHECK(rig.engine->counters().crashed == deaths.size());
  CHECK(eventually([&] { return rig.engine->counters().busy == 0; }));
}

TEST_CASE("pool: an attempt that a signal ended is tried again as any other") {
  Rig rig;
  rig.tasks.add("second-time", [](TaskContext& job) {
    if (job.attempt() == 0) std::abort();
    return job.attempt();
  });
  rig.start();
  const auto id = rig.enqueue("second-time", Json::object(), 2);
  const auto retried = rig.record(id, [](const Result& result) { return result.state != TaskState::queued; });
  if (retried.state == TaskState::retried) {
    CHECK(retried.failure->type == "SIGABRT");
    CHECK(retried.failure->retryable);
  }
  CHECK(rig.end_of(id).value == 1);
}

TEST_CASE("pool: what a handler says, throws and asks of its job is as on a thread") {
  Rig rig;
  rig.tasks.add("throw", [](TaskContext&) { throw std::out_of_range("too far"); });
  rig.tasks.add("throw-number", [](TaskContext&) { throw 5; });
  rig.tasks.add("dead", [](TaskContext&) -> Outcome { return Dead{"never"}; });
  rig.tasks.add("retry", [](TaskContext& job) -> Outcome {
    if (job.attempt() < 2) return Retry{"not yet", 1ms};
    return Done{job.attempt()};
  });
  rig.tasks.add("back", [](TaskContext&) -> Outcome {
    static bool once = false;
    if (!std::exchange(once, true)) return PutBack{};
    return Done{"again"};
  });
  rig.tasks.add("deep", [](TaskContext&) {
    Json value;
    for (int i = 0; i < 600; ++i) value = Json::array({std::move(value)});
    return value;
  });
  rig.tasks.add("facts",
                [](TaskContext& job) {
                  return Json{{"id", job.id()},
                              {"task", job.task()},
                              {"queue", job.queue()},
                              {"attempt", job.attempt()},
                              {"retries", job.max_retries()},
                              {"previous", job.previous() != nullptr},
                              {"chord", job.chord_results().size()}};
                },
                {.max_retries = 7});
  rig.start();
  CHECK((rig.run("throw").failure == Failure{"std::out_of_range", "too far", false}));
  CHECK(rig.run("throw-number").failure->type == "int");
  CHECK((rig.run("dead").failure == Failure{"dead", "never", false}));
  CHECK(rig.run("retry", Json::object(), 5).value == 2);
  CHECK(rig.run("back").value == "again");
  const auto deep = rig.run("deep");
  CHECK(deep.failure->type == "stem::Error");
  CHECK(deep.failure->message.find("deeper than 512") != std::string::npos);
  const auto facts = rig.run("facts");
  CHECK((facts.value == Json{{"id", facts.id},
                             {"task", "facts"},
                             {"queue", "default"},
                             {"attempt", 0},
                             {"retries", 7},
                             {"previous", false},
                             {"chord", 0}}));
  CHECK(rig.engine->counters().crashed == 0);
}

TEST_CASE("pool: past its hard time limit a handler is killed, and its place is free at once") {
  Rig rig;
  rig.config.hard_time_limit = 100ms;
  rig.start();
  const auto process = handle_of(rig.pid());
  const auto result = rig.run("hang");
  CHECK((result.failure == Failure{"hard-time-limit", "ran past its hard time limit of 100ms", false}));
  CHECK(ends(process));
  CHECK(rig.pid() > 0);
  CHECK(rig.engine->counters().stuck == 0);
}

TEST_CASE("pool: a process that is stopped is killed at the hard time limit, too") {
  Rig rig;
  rig.config.hard_time_limit = 300ms;
  rig.start();
  const auto child = rig.pid();
  const auto process = handle_of(child);
  REQUIRE(kill(child, SIGSTOP) == 0);
  CHECK(rig.run("pid").failure->type == "hard-time-limit");
  CHECK(ends(process));
  CHECK(rig.pid() != child);
}

TEST_CASE("pool: the soft time limit, a stop and an operator ask a handler to return") {
  SUBCASE("soft time limit") {
    Rig rig;
    rig.config.soft_time_limit = 50ms;
    rig.start();
    CHECK(rig.run("wait").value == true);
  }
  SUBCASE("soft stop") {
    Rig rig;
    rig.start();
    const auto id = rig.enqueue("wait");
    rig.where(id);
    rig.engine->cancel();
    CHECK(rig.end_of(id).value == true);
  }
  SUBCASE("revoked") {
    Rig rig;
    rig.config.heartbeat = 1s;
    rig.start();
    const auto id = rig.enqueue("wait");
    const auto child = rig.where(id);
    const Revocation order{.job = id,
                           .terminate = true,
                           .reason = "wrong",
                           .requester = "ann",
                           .issued = Clock::system().wall()};
    Fleet fleet(rig.config, open_storage(rig.config));
    const auto active = fleet.ask("inspect", {{"parts", Json::array({"active"})}}, {}, 20s);
    REQUIRE(active.size() == 1);
    CHECK(active[0].payload.at("active").at(0).at("pid") == child);
    fleet.orders().revoke({order});
    fleet.ask("revoke",
              {{"namespace", rig.config.name_space},
               {"revocations", Json::array({to_json(order, rig.config.name_space)})}},
              {}, 20s);
    CHECK(rig.end_of(id).state == TaskState::cancelled);
    CHECK(rig.pid() == child);
  }
}

TEST_CASE("pool: a hard stop kills what runs and puts its job back; no attempt is counted") {
  Rig rig;
  rig.config.concurrency = 2;
  rig.start();
  const auto first = rig.enqueue("wait"), second = rig.enqueue("hang");
  const auto process = handle_of(rig.where(first));
  REQUIRE(eventually([&] { return rig.engine->counters().busy == 2; }));
  rig.engine->halt();
  CHECK(ends(process));
  REQUIRE(eventually([&] { return rig.engine->finished() && rig.engine->idle(); }));
  for (const auto& id : {first, second}) {
    const auto view = rig.storage.broker->find(id);
    REQUIRE(view);
    CHECK(view->attempt == 0);
    CHECK(view->state != JobView::State::leased);
  }
  CHECK(rig.engine->counters().crashed == 0);
}

TEST_CASE("pool: a process is replaced after so many jobs") {
  Rig rig;
  rig.config.max_tasks_per_child = 2;
  rig.start();
  std::vector<pid_t> pids;
  for (int i = 0; i < 6; ++i) pids.push_back(rig.pid());
  CHECK(pids[0] == pids[1]);
  CHECK(pids[2] == pids[3]);
  CHECK(pids[4] == pids[5]);
  CHECK(std::set<pid_t>(pids.begin(), pids.end()).size() == 3);
}

TEST_CASE("pool: processes that were replaced and have last words do not grow in number") {
  Rig rig;
  rig.config.max_tasks_per_child = 1;
  const TempDir directory;
  const auto said = directory / "said";
  rig.tasks.add("linger", [&](TaskContext&) {
    if (!std::freopen(said.c_str(), "a", stdout)) throw std::runtime_error("no such file");
    std::printf("done\n");  // waits in a buffer, as it does where the output is no terminal
    LastWords::add([] { std::this_thread::sleep_for(60s); });  // as with a collector that hangs
    return getpid();
  });
  rig.start();
  std::vector<Descriptor> processes;
  for (int i = 0; i < 12; ++i) {
    processes.push_back(handle_of(rig.run("linger").as<pid_t>()));
    REQUIRE(processes.back());
  }
  for (std::size_t i = 0; i + 5 < processes.size(); ++i) CHECK(ends(processes[i]));
  std::ifstream file(said);
  CHECK(std::count(std::istreambuf_iterator<char>(file), {}, '\n') >= 7);
  for (std::size_t i = processes.size() - 4; i < processes.size(); ++i) {
    pollfd fd{processes[i].get(), POLLIN, 0};
    CHECK(poll(&fd, 1, 0) == 0);
  }
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true;  // whose shadows are most of a process
#else
constexpr bool sanitized = false;
#endif

/// A process of the pool is born as large as this one, in which other tests may have run.
std::uint64_t memory_here() {
  std::uint64_t pages = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return resident * static_cast<std::uint64_t>(getpagesize());
}

TEST_CASE("pool: a process that a job left too large is replaced, one that is not stays" *
          doctest::skip(sanitized)) {
  Rig rig;
  rig.config.max_memory_per_child = memory_here() + (256 << 20);
  rig.tasks.add("keep", [](TaskContext& job) {
    static std::vector<std::string> kept;
    kept.emplace_back(job.args().at("bytes").get<std::size_t>(), 'x');
    return getpid();
  });
  rig.start();
  const auto child = rig.pid();
  CHECK(rig.run("keep", {{"bytes", 1 << 20}}).value == child);
  CHECK(rig.run("keep", {{"bytes", 300 << 20}}).value == child);
  CHECK(rig.pid() != child);
}

TEST_CASE("pool: a process that ends without a job costs none, and is replaced at once") {
  Rig rig;
  rig.start();
  const auto child = rig.pid();
  REQUIRE(kill(child, SIGKILL) == 0);
  REQUIRE(eventually([&] {
    const auto view = rig.children();
    return view.size() == 1 && view[0].pid != child;
  }));
  CHECK(rig.run("pid").state == TaskState::succeeded);
  CHECK(rig.engine->counters().crashed == 0);
}

TEST_CASE("pool: a worker whose idle process dies young goes on with the next one") {
  Rig rig;
  rig.start();
  REQUIRE(eventually([&] { return rig.children().size() == 1 && rig.children()[0].pid != 0; }));
  const auto child = rig.children()[0].pid;
  std::this_thread::sleep_for(50ms);  // its executor waits for a job by then
  REQUIRE(kill(child, SIGKILL) == 0);
  REQUIRE(eventually([&] {
    const auto view = rig.children();
    return view.size() == 1 && view[0].pid != 0 && view[0].pid != child;
  }));
  CHECK(rig.run("pid").state == TaskState::succeeded);
  CHECK(rig.engine->counters().childless == 0);
  CHECK(rig.engine->counters().crashed == 0);
}

TEST_CASE("pool: of places of which one has no process, the jobs of that one go back") {
  Rig rig;
  rig.config.concurrency = 3;
  rig.config.prefetch_multiplier = 1;
  rig.settings.enter = [](const ForkServer::Birth& birth) {
    if (birth.index == 3) throw Error(Exit::config, "not this one");
  };
  rig.start();
  std::set<std::string> ids;
  for (int i = 0; i < 3; ++i) ids.insert(rig.enqueue("wait"));
  REQUIRE(eventually([&] { return rig.engine->counters().childless == 1; }));
  REQUIRE(eventually([&] { return rig.engine->counters().busy == 2 && rig.engine->inflight() == 2; }));
  CHECK(std::count_if(ids.begin(), ids.end(), [&](const auto& id) {
          const auto view = rig.storage.broker->find(id);
          return view && view->state == JobView::State::leased;
        }) == 2);
  rig.engine->cancel();
}

TEST_CASE("pool: what a terminal or a service manager sends to all processes ends no handler") {
  Rig rig;
  rig.start();
  const auto id = rig.enqueue("wait");
  const auto child = rig.where(id);
  for (const int number : {SIGINT, SIGTERM, SIGQUIT, SIGHUP}) REQUIRE(kill(child, number) == 0);
  CHECK(getsid(child) != getsid(0));
  rig.engine->cancel();
  CHECK(rig.end_of(id).value == true);
}

TEST_CASE("pool: programs that a handler starts can be ended by signals, and end with its process") {
  const TempDir place;
  Rig rig;
  rig.tasks.add("leave", [&](TaskContext&) {
    const auto command = "sleep 1000 & echo $! >" + place / "pid";
    if (std::system(command.c_str()) != 0) throw std::runtime_error("sh");
    std::abort();
  });
  rig.tasks.add("term", [](TaskContext&) { return std::system("kill -TERM $$"); });
  rig.start();
  CHECK(rig.run("term").value == SIGTERM);
  const auto result = rig.enqueue("leave");
  REQUIRE(eventually([&] { return content_of(place / "pid").ends_with("\n"); }));
  const auto left = handle_of(std::stoi(content_of(place / "pid")));
  CHECK(rig.end_of(result).failure->type == "SIGABRT");
  CHECK(ends(left));
}

TEST_CASE("pool: a process has no descriptor of the worker's, nor of its brothers") {
  const auto open_now = [] {
    std::map<int, std::string> all;
    DIR* directory = opendir("/proc/self/fd");
    while (const auto* entry = readdir(directory)) {
      char target[256] = {};
      const auto length = readlinkat(dirfd(directory), entry->d_name, target, sizeof target - 1);
      if (length > 0 && std::atoi(entry->d_name) != dirfd(directory)) all[std::atoi(entry->d_name)] = target;
    }
    closedir(directory);
    return all;
  };
  Rig rig;
  rig.config.concurrency = 3;
  rig.tasks.add("descriptors", [&](TaskContext&) {
    auto list = Json::array();
    for (const auto& [fd, target] : open_now()) list.push_back(target);
    return list;
  });
  const auto before = open_now();
  rig.start();
  for (int i = 0; i < 3; ++i) CHECK(rig.run("die", {{"how", "abort"}}).failure->type == "SIGABRT");
  int sockets = 0;
  for (const auto& one : rig.run("descriptors").value) {
    const auto target = one.get<std::string>();
    if (target.ends_with("/statm")) continue;
    const bool was_there =
        std::any_of(before.begin(), before.end(), [&](const auto& known) { return known.second == target; });
    if (was_there) continue;
    CAPTURE(target);
    CHECK(target.starts_with("socket:"));
    ++sockets;
  }
  CHECK(sockets == 1);
}

TEST_CASE("pool: progress, heartbeats and wishes for a longer lease reach the worker") {
  Rig rig;
  rig.tasks.add("steps", [](TaskContext& job) {
    job.heartbeat();
    job.extend_lease(1h);
    job.progress(0.25, "a quarter");
    while (!job.cancelled()) std::this_thread::sleep_for(1ms);
  });
  rig.start();
  const auto id = rig.enqueue("steps");
  const auto result = rig.record(id, [](const Result& one) { return one.meta.contains("progress"); });
  CHECK(result.state == TaskState::running);
  CHECK(result.meta.at("progress") == 0.25);
  CHECK(result.meta.at("progressNote") == "a quarter");
  rig.engine->cancel();
  CHECK(rig.end_of(id).state == TaskState::succeeded);
}

TEST_CASE("pool: a chain's links and a chord's callback read what went before") {
  const TempDir place;
  Rig rig;
  rig.config.broker_url = "sqlite://" + place / "stem.db";
  rig.config.concurrency = 2;
  rig.tasks.add("plus", [](TaskContext& job) {
    return job.args().at("n").get<int>() + (job.previous() ? job.previous()->as<int>() : 0);
  });
  rig.tasks.add("sum", [](TaskContext& job) {
    int sum = 0;
    for (const auto& one : job.chord_results()) sum += one.get<int>();
    return sum;
  });
  rig.start();
  Stem stem(rig.config);
  const auto chain = stem.enqueue(Chain{{{"plus", {{"n", 1}}}, {"plus", {{"n", 2}}}, {"plus", {{"n", 4}}}}});
  CHECK(stem.wait(chain.links.back(), 20s)->value == 7);
  const auto chord = stem.enqueue(Chord{{{"plus", {{"n", 10}}}, {"plus", {{"n", 20}}}}, {"sum"}});
  CHECK(stem.wait(chord.callback, 20s)->value == 30);
}

TEST_CASE(
    "pool: handlers enqueue with a Stem that was made before they were forked; ids of two processes never "
    "meet") {
  const TempDir place;
  Rig rig;
  rig.config.broker_url = "sqlite://" + place / "stem.db";
  rig.config.concurrency = 3;
  Stem stem(rig.config);
  (void)new_id(Clock::system().wall());  // the generator has been seeded: children would go on with it
  rig.tasks.add("spread", [&](TaskContext&) {
    auto ids = Json::array();
    for (int i = 0; i < 20; ++i) ids.push_back(stem.enqueue("pid"));
    return ids;
  });
  rig.start();
  std::vector<std::string> spreaders;
  for (int i = 0; i < 9; ++i) spreaders.push_back(stem.enqueue("spread"));
  std::set<std::string> ids;
  for (const auto& id : spreaders) {
    const auto result = stem.wait(id, 60s);
    REQUIRE(result);
    REQUIRE(result->state == TaskState::succeeded);
    for (const auto& child : result->value) ids.insert(child.get<std::string>());
  }
  CHECK(ids.size() == 180);
  for (const auto& id : ids) CHECK(stem.wait(id, 60s)->state == TaskState::succeeded);
}

TEST_CASE("pool: of 1,000 jobs every tenth takes its process down; each ends as told, and no other is lost") {
  Rig rig;
  rig.config.concurrency = 4;
  rig.tasks.add("number", [](TaskContext& job) {
    const auto number = job.args().at("n").get<int>();
    if (number % 10 == 0) Rig::perish(number % 20 == 0 ? "segmentation fault" : "exit");
    return number;
  });
  rig.start();
  std::vector<std::string> ids;
  for (int i = 0; i < 1000; ++i) ids.push_back(rig.enqueue("number", {{"n", i}}));
  for (int i = 0; i < 1000; ++i) {
    const auto result = rig.end_of(ids[static_cast<std::size_t>(i)]);
    CAPTURE(i);
    CHECK(result.attempt == 0);
    if (i % 10 != 0) {
      CHECK(result.state == TaskState::succeeded);
      CHECK(result.value == i);
    } else {
      CHECK(result.state == TaskState::failed);
      CHECK(result.failure->type == (i % 20 == 0 ? "SIGSEGV" : "process-exit"));
    }
  }
  CHECK(rig.engine->counters().crashed == 100);
  CHECK(eventually([&] { return rig.engine->counters().done == 900; }));  // told after the record is written
  CHECK(rig.storage.broker->dead_letters("", 1000).size() == 100);
}

TEST_CASE("pool: a reload gives each place another process before its next job, with the log as it is then") {
  const TempDir place;
  Rig rig;
  rig.settings.enter = [&](const ForkServer::Birth& birth) {
    std::ofstream(place / "births", std::ios::app) << birth.index << ' ' << birth.log_level << '\n';
  };
  rig.start();
  const auto child = rig.pid();
  rig.engine->children()->renew("debug");
  CHECK(rig.pid() != child);
  CHECK(content_of(place / "births") == "1 info\n1 debug\n");
}

TEST_CASE("pool: processes that end before they are ready are started ever more seldom, and jobs wait") {
  const TempDir place;
  Rig rig;
  rig.settings.enter = [&](const ForkServer::Birth&) {
    std::ofstream(place / "tries", std::ios::app) << '.';
    if (content_of(place / "mended").empty()) std::abort();
  };
  rig.start();
  const auto id = rig.enqueue("pid");
  std::this_thread::sleep_for(1s);  // as many as there are in that time
  const auto tries = content_of(place / "tries").size();
  CHECK(tries >= 2);
  CHECK(tries <= 5);
  CHECK_FALSE(rig.storage.results->get(result_key(id)));
  place.file("mended", "yes");
  CHECK(rig.end_of(id).state == TaskState::succeeded);
}

TEST_CASE("pool: a process that cannot open its log says why") {
  const TempDir place;
  Rig rig;
  rig.settings.enter = [&](const ForkServer::Birth&) {
    if (content_of(place / "mended").empty()) throw Error(Exit::cannot_create, "no room for a log");
  };
  rig.start();
  const auto id = rig.enqueue("pid");
  std::this_thread::sleep_for(50ms);
  place.file("mended", "yes");
  CHECK(rig.end_of(id).state == TaskState::succeeded);
}

TEST_CASE("pool: where no process can be started for a while, jobs wait for it") {
  if (geteuid() != 0) return;
  // Root may start as many as it likes, so this is a worker of another account.
  ChildProcess worker([] {
    TempDir place;
    if (!become(stranger)) return 3;
    Rig rig;
    rig.start();
    const auto child = rig.pid();
    const rlimit none{1, 1024}, many{1024, 1024};
    if (prlimit(rig.forks->pid(), RLIMIT_NPROC, &none, nullptr) != 0) return 4;
    if (rig.run("die", {{"how", "abort"}}).failure->type != "SIGABRT") return 5;
    const auto id = rig.enqueue("pid");
    std::this_thread::sleep_for(200ms);
    if (rig.storage.results->get(result_key(id))) return 6;
    if (prlimit(rig.forks->pid(), RLIMIT_NPROC, &many, nullptr) != 0) return 7;
    return rig.end_of(id).as<pid_t>() != child ? 0 : 8;
  });
  CHECK(worker.wait(60'000) == 0);
}

TEST_CASE("pool: without the process that starts children a worker ends, and its jobs go back") {
  Rig rig;
  rig.start();
  const auto id = rig.enqueue("wait");
  const auto child = handle_of(rig.where(id));
  REQUIRE(kill(rig.forks->pid(), SIGKILL) == 0);
  CHECK(ends(child));
  REQUIRE(eventually([&] { return rig.engine->finished(); }));
  CHECK(rig.engine->children()->lost());
  const auto view = rig.storage.broker->find(id);
  REQUIRE(view);
  CHECK(view->state != JobView::State::leased);
  CHECK(view->attempt == 0);
}

TEST_CASE("pool: a worker that is killed leaves no process behind, not even what its handlers started") {
  const TempDir place;
  ChildProcess worker([&] {
    Rig rig;
    rig.config.concurrency = 3;
    rig.tasks.add("start", [&](TaskContext& job) {
      const auto command = "sleep 1000 & echo $! $PPID >>" + place / "pids";
      if (std::system(command.c_str()) != 0) return;
      while (!job.cancelled()) std::this_thread::sleep_for(1ms);
    });
    rig.start();
    std::ofstream(place / "server") << rig.forks->pid() << std::endl;
    for (int i = 0; i < 3; ++i) rig.enqueue("start");
    for (;;) pause();
    return 0;
  });
  std::vector<pid_t> pids;
  REQUIRE(eventually(
      [&] {
        pids.clear();
        std::ifstream file(place / "pids"), server(place / "server");
        for (pid_t pid; file >> pid;) pids.push_back(pid);
        for (pid_t pid; server >> pid;) pids.push_back(pid);
        return pids.size() == 7;
      },
      20'000));
  std::vector<Descriptor> processes;
  for (const auto pid : pids) processes.push_back(handle_of(pid));
  worker.signal(SIGKILL);
  for (const auto& process : processes) CHECK(ends(process));
}

TEST_CASE("pool: jobs that a worker leased before its processes failed to start are run by another worker") {
  Rig rig;
  rig.config.concurrency = 2;
  rig.settings.enter = [](const ForkServer::Birth&) {
    throw Error(Exit::cannot_create, "no room for a log");
  };
  auto& broken = rig.start();
  std::vector<std::string> ids;
  for (int i = 0; i < 4; ++i) ids.push_back(rig.enqueue("pid"));
  REQUIRE(eventually([&] { return broken.counters().childless == 2; }));
  auto healthy = rig.config;
  healthy.node = "healthy";
  Engine other(engine_options(healthy), rig.tasks, open_storage(healthy));
  other.start();
  for (const auto& id : ids) {
    const auto result = rig.end_of(id);
    CHECK(result.state == TaskState::succeeded);
    CHECK(result.attempt == 0);
  }
  CHECK(broken.inflight() == 0);
}

TEST_CASE("pool: what handlers started ends, too, if the process that starts children is killed") {
  const TempDir place;
  Rig rig;
  rig.config.concurrency = 2;
  rig.tasks.add("start", [&](TaskContext& job) {
    const auto command = "sleep 1000 & echo $! >>" + place / "pids";
    if (std::system(command.c_str()) != 0) throw std::runtime_error("sh");
    while (job.args().contains("stay") && !job.cancelled()) std::this_thread::sleep_for(1ms);
  });
  rig.start();
  rig.run("start");  // its process has no job afterwards
  rig.enqueue("start", {{"stay", true}});
  const auto lines = [&] {
    const auto text = content_of(place / "pids");
    return std::count(text.begin(), text.end(), '\n');
  };
  REQUIRE(eventually([&] { return lines() == 2; }, 20'000));
  std::vector<Descriptor> left;
  std::ifstream file(place / "pids");
  for (pid_t pid; file >> pid;) left.push_back(handle_of(pid));
  REQUIRE(kill(rig.forks->pid(), SIGKILL) == 0);
  for (const auto& one : left) CHECK(ends(one));
  CHECK(eventually([&] { return rig.engine->finished(); }));
}

TEST_CASE("pool: a process is not replaced for the size of what a job was given, only for what it left" *
          doctest::skip(sanitized)) {
  Rig rig;
  const auto limit = memory_here() + (120 << 20);
  rig.config.max_memory_per_child = limit;
  rig.tasks.add("measure", [](TaskContext&) { return getpid(); });
  rig.tasks.add("return", [](TaskContext&) { return std::string(60 << 20, 'x'); });
  rig.start();
  const auto child = rig.pid();
  CHECK(rig.run("measure", {{"text", std::string(60 << 20, 'x')}}).value == child);
  CHECK(rig.run("return").state == TaskState::succeeded);
  CHECK(rig.pid() == child);
  const auto view = rig.children();
  REQUIRE(view.size() == 1);
  CHECK(view[0].jobs == 4);
  CHECK(view[0].memory < limit);
}

TEST_CASE("pool: limits for children without children are refused, and so is what is no amount of memory") {
  Config config;
  config.max_tasks_per_child = 5;
  try {
    validate_pool(config);
    FAIL("accepted");
  } catch (const Error& error) {
    CHECK(error.code() == Exit::config);
    CHECK(std::string(error.what()).find("STEM_WORKER_MAX_TASKS_PER_CHILD") != std::string::npos);
  }
  config.pool = "processes";
  CHECK_NOTHROW(validate_pool(config));
  CHECK(Config::from({{"STEM_WORKER_MAX_MEMORY_PER_CHILD", "200000"}}).max_memory_per_child == 200000ULL
                                                                                                   << 10);
  CHECK(Config::from({{"STEM_WORKER_MAX_MEMORY_PER_CHILD", "512M"}}).max_memory_per_child == 512ULL << 20);
  CHECK(Config::from({{"STEM_WORKER_MAX_MEMORY_PER_CHILD", "2G"}}).max_memory_per_child == 2ULL << 30);
  for (const char* wrong : {"5T", "M", "-1", "1.5G", "99999999999999999999"})
    CHECK_THROWS_AS(Config::from({{"STEM_WORKER_MAX_MEMORY_PER_CHILD", wrong}}), Error);
  CHECK_THROWS_AS(Config::from({{"STEM_WORKER_POOL", "fibers"}}), Error);
}

TEST_CASE("pool: a pool that there is not is refused, not taken for threads") {
  for (const char* wrong : {"process", "prefork", ""}) {
    Config config;
    config.pool = wrong;
    try {
      validate_pool(config);
      FAIL("accepted");
    } catch (const Error& error) {
      CHECK(error.code() == Exit::config);
      CHECK(std::string(error.what()) == "there is no pool '" + std::string(wrong) +
                                             "'; STEM_WORKER_POOL, or Config::pool, is threads or processes");
    }
  }
}
