#include <dirent.h>
#include <dlfcn.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <thread>

#include "child_process.hpp"
#include "error_of.hpp"
#include "temp_dir.hpp"
#include "worker/child_pool.hpp"
#include "worker/handler_failure.hpp"
#include "worker/job_context.hpp"

using namespace stem;
using namespace std::chrono_literals;

namespace {

/// A pool of one process without an engine around it.
struct Place {
  Registry tasks;
  ForkServer::Settings settings{.node = "place"};
  Counters counters;
  std::function<void()> nudge = [] {};
  std::optional<Duration> hard_limit;
  std::unique_ptr<ForkServer> forks;
  std::unique_ptr<ChildPool> pool;
  PoolChild* child = nullptr;

  Place() {
    tasks.add("echo", [](TaskContext& job) { return job.args(); });
  }
  void open(int children = 1) {
    settings.children = children;
    forks = std::make_unique<ForkServer>(tasks, settings);
    pool = std::make_unique<ChildPool>(*forks, ChildPool::Rules{}, Clock::system(), counters, -1);
    child = pool->claim();
  }
  /// As an executor does. A value, or `back`, or `TYPE: MESSAGE` of what was thrown.
  Json run(const std::string& task, Json args = Json::object()) {
    Envelope envelope;
    envelope.id = envelope.name = task;
    envelope.args = std::move(args);
    LeasedJob job({.receipt = {}, .id = task, .queue = "default", .wire = to_wire(envelope)});
    job.envelope = envelope;
    job.task = tasks.find(task);
    job.started = Clock::system().steady();
    if (hard_limit) job.hard_deadline = job.started + *hard_limit;
    const std::atomic<bool> stopping{false};
    JobContext context(job, stopping, Clock::system(), nudge);
    try {
      const auto outcome = child->run(job, context);
      if (const auto* done = std::get_if<Done>(&outcome)) return done->value;
      return std::holds_alternative<PutBack>(outcome) ? "back" : "else";
    } catch (const HandlerFailed& failed) {
      return failed.failure.type + ": " + failed.failure.message;
    } catch (...) {
      return failure_now().type;
    }
  }
};

/// Whether `path` is written in time.
bool appears(const std::string& path) {
  return eventually([&] { return !content_of(path).empty(); }, 20'000);
}

}  // namespace

TEST_CASE("pool child: a hard stop while a job waits for its process lets no handler begin") {
  const TempDir dir;
  Place place;
  place.tasks.add("mark", [&](TaskContext&) { dir.file("begun", "yes"); });
  place.settings.enter = [&](const ForkServer::Birth&) {
    dir.file("entered", "yes");
    if (!appears(dir / "go")) throw std::runtime_error("not let go");
  };
  place.open();
  auto outcome = std::async(std::launch::async, [&] { return place.run("mark"); });
  REQUIRE(appears(dir / "entered"));
  place.pool->look(true, true);
  dir.file("go", "yes");
  CHECK(outcome.get() == "back");
  CHECK(content_of(dir / "begun").empty());
}

TEST_CASE("pool child: a hard stop waits for no process that is not ready yet") {
  const TempDir dir;
  Place place;
  place.settings.enter = [&](const ForkServer::Birth&) {
    dir.file("entered", "yes");
    for (;;) pause();
  };
  place.open();
  auto prepared = std::async(std::launch::async, [&] { place.child->prepare(); });
  REQUIRE(appears(dir / "entered"));
  const auto before = std::chrono::steady_clock::now();
  place.pool->look(true, true);
  prepared.get();
  CHECK(std::chrono::steady_clock::now() - before < 20s);
}

TEST_CASE("pool child: after a fault in the middle of a talk the next job gets its own answer") {
  Place place;
  place.tasks.add("steps", [](TaskContext& job) {
    job.progress(0.5, "half");
    return "the first job's";
  });
  place.open();
  place.nudge = [] { throw std::bad_alloc(); };
  CHECK(place.run("steps") == "std::bad_alloc");
  place.nudge = [] {};
  CHECK(place.run("echo", {{"n", 2}}) == Json{{"n", 2}});
}

TEST_CASE("pool child: time limits begin when the process is there, however long that takes") {
  Place place;
  place.settings.enter = [](const ForkServer::Birth&) { std::this_thread::sleep_for(600ms); };
  place.hard_limit = 500ms;
  place.open();
  CHECK(place.run("echo", {{"n", 1}}) == Json{{"n", 1}});
}

TEST_CASE("pool child: a handler that speaks without end is killed at its hard time limit all the same") {
  Place place;
  place.tasks.add("talk", [](TaskContext& job) {
    for (int i = 1; i < 20'000; ++i) job.extend_lease(1h + Duration{i});
  });
  place.open();
  place.nudge = [] { std::this_thread::sleep_for(1ms); };
  place.hard_limit = 200ms;
  const auto before = std::chrono::steady_clock::now();
  CHECK(place.run("talk").get<std::string>().starts_with("hard-time-limit: "));
  CHECK(std::chrono::steady_clock::now() - before < 10s);
}

TEST_CASE("pool child: a handler that asks for the same lease again and again tells the worker seldom") {
  Place place;
  place.tasks.add("talk", [](TaskContext& job) {
    for (int i = 1; i < 20'000; ++i) job.extend_lease(1h);
    job.extend_lease(2h);
  });
  place.open();
  int told = 0;
  place.nudge = [&] { ++told; };
  CHECK(place.run("talk").is_null());
  CHECK(told >= 2);
  CHECK(told < 5'000);
}

TEST_CASE("pool child: what a handler reports each second is not held back a second time by the worker") {
  Registry tasks;
  LeasedJob job(Delivery{});
  const std::atomic<bool> stopping{false};
  const std::function<void()> nudge = [] {};
  JobContext context(job, stopping, Clock::system(), nudge);
  job.child = 4711;
  context.progress(0.1, "first");
  context.progress(0.2, "second");
  REQUIRE(job.progress);
  CHECK(job.progress->second == "second");
}

TEST_CASE("pool child: signals that the worker ignores end no handler") {
  Place place;
  place.tasks.add("raise", [](TaskContext& job) { return raise(job.args().at("number").get<int>()); });
  place.open();
  for (const int number : {SIGUSR1, SIGUSR2}) CHECK(place.run("raise", {{"number", number}}) == 0);
}

TEST_CASE(
    "pool child: without a descriptor to spare a process cannot start, and the message says what to do") {
  ChildProcess worker([] {
    Place place;
    place.open();
    // No gap below the next descriptor, and five are needed.
    int next;
    while ((next = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0) {
      DIR* all = opendir("/proc/self/fd");
      int highest = 0;
      while (const auto* entry = readdir(all))
        if (const int fd = std::atoi(entry->d_name); fd != dirfd(all)) highest = std::max(highest, fd);
      closedir(all);
      if (highest == next) break;
    }
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    for (int more = 1; more <= 6; ++more) {
      const rlimit tight{static_cast<rlim_t>(next + more), limit.rlim_max};
      setrlimit(RLIMIT_NOFILE, &tight);
      const auto failed = error_of([&] { (void)place.forks->start({1, "info"}, -1); });
      if (more == 6) return failed.status == 0 ? 0 : 3;
      if (failed.status != 75 || !failed.says("Too many open files") || !failed.says("LimitNOFILE="))
        return 10 + more;
    }
    return 4;
  });
  CHECK(worker.wait() == 0);
}

TEST_CASE("pool child: the process that starts others outlives a lack of descriptors") {
  Place place;
  place.open();
  CHECK(place.run("echo").empty());
  const rlimit none{3, 4096}, many{1024, 4096};
  REQUIRE(prlimit(place.forks->pid(), RLIMIT_NOFILE, &none, nullptr) == 0);
  const auto failed = error_of([&] { (void)place.forks->start({1, "info"}, -1); });
  CHECK(failed.status == 75);
  CHECK(failed.says("Too many open files"));
  CHECK_FALSE(place.forks->lost());
  REQUIRE(prlimit(place.forks->pid(), RLIMIT_NOFILE, &many, nullptr) == 0);
  CHECK(place.forks->start({1, "info"}, -1).pid > 0);
}

TEST_CASE("pool child: a worker of many processes gets the descriptors for them, and its handlers do not") {
  ChildProcess worker([] {
    const rlimit few{64, 4096};
    if (setrlimit(RLIMIT_NOFILE, &few) != 0) return 1;
    Place place;
    place.tasks.add("limit", [](TaskContext&) {
      rlimit limit{};
      getrlimit(RLIMIT_NOFILE, &limit);
      return limit.rlim_cur;
    });
    place.open(200);
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < 600 || limit.rlim_cur > 4096) return 2;
    return place.run("limit") == 64 ? 0 : 3;
  });
  CHECK(worker.wait() == 0);
}

TEST_CASE("pool child: a place in a library that was loaded after the fork remains a number") {
  const ChildBoard board(1);
  constexpr const char* library = "libBrokenLocale.so.1";
  REQUIRE(dlopen(library, RTLD_NOW | RTLD_NOLOAD) == nullptr);
  void* const loaded = dlopen(library, RTLD_NOW);
  REQUIRE(loaded);
  ChildBoard::Crash crash{};
  crash.signal = SIGSEGV;
  crash.depth = 4;
  crash.frames[2] = reinterpret_cast<void*>(&getpid);
  crash.frames[3] = dlsym(loaded, "__ctype_get_mb_cur_max");
  REQUIRE(crash.frames[3]);
  const auto text = board.describe(crash);
  CHECK(text.starts_with("#0 "));
  CHECK_MESSAGE(text.find("getpid") != std::string::npos, text);
  CHECK_MESSAGE(text.find("libBrokenLocale") == std::string::npos, text);
  CHECK_MESSAGE(text.find("#1  0x") != std::string::npos, text);
  dlclose(loaded);
}
