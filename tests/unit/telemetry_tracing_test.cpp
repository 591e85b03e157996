#include <doctest/doctest.h>

#include <atomic>
#include <mutex>

#include "child_process.hpp"
#include "collector.hpp"
#include "core/trace_scope.hpp"
#include "error_of.hpp"
#include "places.hpp"
#include "scheduler/scheduler.hpp"
#include "worker/fleet.hpp"

using namespace stem;
using namespace std::chrono_literals;

namespace {

const std::string trace = "0af7651916cd43dd8448eb211c80319c", parent_id = "b7ad6b7169203331";
const std::string sampled_parent = "00-" + trace + "-" + parent_id + "-01";

/// A producer, a worker and a collector that both tell.
template <class Place>
struct Traced : Plant<Place> {
  Collector collector;
  std::shared_ptr<Tracer> tracer;

  Traced() {
    this->config.telemetry.traces.url = collector.url() + "/v1/traces";
    this->config.telemetry.span_delay = 1ms;
  }
  Engine& work() {
    auto options = engine_options(this->config);
    options.node = "w1";
    options.rules.node = "w1";
    options.tracer = tracer = Tracer::shared(this->config.telemetry, {this->config.name_space, "w1"});
    this->engines.push_back(
        std::make_unique<Engine>(std::move(options), this->tasks, open_storage(this->config)));
    this->engines.back()->start();
    return *this->engines.back();
  }
  /// The spans of a name, once there are `count`.
  std::vector<Json> spans(const std::string& name, std::size_t count) {
    std::vector<Json> found;
    const auto deadline = std::chrono::steady_clock::now() + 30s;
    while (found.size() < count && std::chrono::steady_clock::now() < deadline) {
      found.clear();
      for (auto& span : collector.spans())
        if (span["name"] == name) found.push_back(span);
      poll(nullptr, 0, 5);
    }
    CHECK_MESSAGE(found.size() == count, name);
    REQUIRE(found.size() >= count);
    return found;
  }
  ~Traced() {
    for (const auto& request : collector.requests()) CHECK(fault_of_traces(Json::parse(request.body)) == "");
  }
};

EnqueueOptions in_trace(const std::string& parent = sampled_parent) {
  EnqueueOptions options;
  options.headers["traceparent"] = parent;
  return options;
}

}  // namespace

EVERYWHERE(
    "tracing: a job's publication, its turn and its handler are spans of one trace, one below the other") {
  Traced<Place> plant;
  std::map<std::string, std::string> seen;
  std::mutex mutex;
  plant.tasks.add("mail", [&](TaskContext& job) {
    const std::lock_guard lock(mutex);
    seen = job.trace_headers();
  });
  EnqueueOptions options;
  options.priority = 3;
  const auto id = plant.stem().enqueue("mail", {{"to", "a@b.c"}}, options);
  plant.work();
  plant.end_of(id);
  const auto enqueue = plant.spans("stem.enqueue", 1)[0];
  const auto consume = plant.spans("stem.consume", 1)[0];
  const auto execute = plant.spans("stem.execute.mail", 1)[0];
  CHECK(enqueue["kind"] == 4);
  CHECK(consume["kind"] == 5);
  CHECK(execute["kind"] == 1);
  CHECK_FALSE(enqueue.contains("parentSpanId"));
  CHECK(consume["parentSpanId"] == enqueue["spanId"]);
  CHECK(execute["parentSpanId"] == consume["spanId"]);
  CHECK(consume["traceId"] == enqueue["traceId"]);
  CHECK(execute["traceId"] == enqueue["traceId"]);
  CHECK((consume["flags"].template get<int>() & 0x200) != 0);
  for (const auto& span : {enqueue, consume, execute}) {
    const auto attributes = Collector::attributes(span);
    CHECK(attributes["stem.task"] == "mail");
    CHECK(attributes["stem.task.id"] == id);
    CHECK(attributes["stem.task.attempt"] == "0");
    CHECK(attributes["stem.queue"] == "default");
    CHECK(attributes.contains("host.name"));
    CHECK_FALSE(span.contains("status"));
    CHECK(span["resource"]["service.name"] == "stem");
  }
  CHECK(Collector::attributes(enqueue)["stem.task.priority"] == "3");
  const auto attributes = Collector::attributes(consume);
  CHECK(attributes["stem.worker.id"] == "w1");
  CHECK(attributes["stem.worker.namespace"] == "stem");
  CHECK(attributes["stem.namespace"] == "stem");
  CHECK(attributes["stem.task.max_retries"] == "3");
  CHECK(attributes["stem.task.state"] == "succeeded");
  CHECK(attributes["stem.span.phase"] == "consume");
  CHECK(Collector::attributes(execute)["stem.span.phase"] == "execute");
  CHECK(Collector::attributes(enqueue)["stem.span.phase"] == "enqueue");
  const std::lock_guard lock(mutex);
  CHECK(seen["traceparent"] == "00-" + enqueue["traceId"].template get<std::string>() + "-" +
                                   execute["spanId"].template get<std::string>() + "-01");
}

TEST_CASE(
    "tracing: the trace of the caller goes on, with its state; a malformed one starts anew and is no error") {
  Traced<SqlitePlace> plant;
  std::mutex mutex;
  std::vector<std::map<std::string, std::string>> seen;
  plant.tasks.add("t", [&](TaskContext& job) {
    const std::lock_guard lock(mutex);
    seen.push_back(job.trace_headers());
  });
  auto options = in_trace();
  options.headers["tracestate"] = "vendor=1";
  const auto known = plant.stem().enqueue("t", {}, options);
  plant.work();
  plant.end_of(known);
  const auto enqueue = plant.spans("stem.enqueue", 1)[0];
  CHECK(enqueue["traceId"] == trace);
  CHECK(enqueue["parentSpanId"] == parent_id);
  CHECK(enqueue["traceState"] == "vendor=1");
  CHECK(plant.spans("stem.execute.t", 1)[0]["traceId"] == trace);
  CHECK(seen.at(0)["tracestate"] == "vendor=1");
  const auto bad = plant.stem().enqueue("t", {}, in_trace("00-nonsense-01"));
  plant.end_of(bad);
  for (const auto& span : plant.spans("stem.enqueue", 2)) {
    if (Collector::attributes(span)["stem.task.id"] != bad) continue;
    CHECK(span["traceId"] != trace);
    CHECK_FALSE(span.contains("parentSpanId"));
  }
}

EVERYWHERE("tracing: each attempt is a span of the same trace, with the failure's type and message") {
  Traced<Place> plant;
  std::atomic<int> runs{0};
  plant.tasks.add("flaky", [&](TaskContext&) {
    if (++runs < 3) throw std::runtime_error("no answer from https://u:hunter2@example.org");
  });
  plant.work();
  const auto id = plant.stem().enqueue("flaky");
  plant.end_of(id);
  const auto attempts = plant.spans("stem.execute.flaky", 3);
  const auto turns = plant.spans("stem.consume", 3);
  const auto enqueue = plant.spans("stem.enqueue", 1)[0];
  std::set<std::string> numbers;
  int failed = 0;
  for (const auto& span : attempts) {
    CHECK(span["traceId"] == enqueue["traceId"]);
    const auto attributes = Collector::attributes(span);
    numbers.insert(attributes["stem.task.attempt"].template get<std::string>());
    const bool last = attributes["stem.task.attempt"] == "2";
    CHECK(attributes["stem.task.state"] == (last ? "succeeded" : "retried"));
    if (last) CHECK_FALSE(span.contains("status"));
    if (!span.contains("status")) continue;
    ++failed;
    CHECK(span["status"]["code"] == 2);
    CHECK(span["status"]["message"] == "std::runtime_error: no answer from https://u:***@example.org");
    CHECK(attributes["error.type"] == "std::runtime_error");
  }
  CHECK(failed == 2);
  CHECK(numbers == std::set<std::string>{"0", "1", "2"});
  for (const auto& span : turns) CHECK(span["parentSpanId"] == enqueue["spanId"]);
}

TEST_CASE("tracing: a job that dies, unknown, too late or by its handler's word, says why in its span") {
  Traced<MemoryPlace> plant;
  plant.tasks.add("dead", [](TaskContext&) -> Outcome { return Dead{"no such page"}; });
  plant.tasks.add("late", [](TaskContext&) {});
  const auto dead = plant.stem().enqueue("dead");
  const auto unknown = plant.stem().enqueue("unknown");
  EnqueueOptions soon;
  soon.expires = 1ms;
  const auto late = plant.stem().enqueue("late", {}, soon);
  poll(nullptr, 0, 10);
  plant.work();
  plant.end_of(dead);
  plant.end_of(unknown);
  plant.end_of(late);
  std::map<std::string, Json> turns;
  for (const auto& span : plant.spans("stem.consume", 3))
    turns[Collector::attributes(span)["stem.task.id"]] = span;
  CHECK(turns[dead]["status"]["message"] == "dead: no such page");
  CHECK(turns[unknown]["status"]["message"].get<std::string>().starts_with("unregistered-task: "));
  CHECK(Collector::attributes(turns[late])["stem.task.state"] == "cancelled");
  CHECK(plant.spans("stem.execute.dead", 1)[0]["status"]["message"] == "dead: no such page");
  plant.spans("stem.execute.late", 0);
}

TEST_CASE("tracing: an attempt past its hard time limit is told of when it is given up, and once") {
  Traced<MemoryPlace> plant;
  std::atomic<bool> open{false};
  TaskOptions options;
  options.hard_time_limit = 50ms;
  plant.tasks.add(
      "slow",
      [&](TaskContext&) {
        while (!open) poll(nullptr, 0, 5);
      },
      options);
  EnqueueOptions once;
  once.max_retries = 0;
  plant.work();
  plant.end_of(plant.stem().enqueue("slow", {}, once));
  const auto span = plant.spans("stem.execute.slow", 1)[0];
  CHECK(span["status"]["message"].get<std::string>().starts_with("hard-time-limit: "));
  open = true;
  plant.rest();
  plant.tracer->exporter().finish(20s);
  plant.spans("stem.execute.slow", 1);
  plant.spans("stem.consume", 1);
}

EVERYWHERE("tracing: what a handler enqueues goes on below it") {
  Traced<Place> plant;
  std::atomic<bool> sent{false};
  plant.tasks.add("child", [](TaskContext&) {});
  plant.tasks.add("parent", [&](TaskContext&) {
    Stem own(plant.config);
    own.enqueue("child", {}, [] {
      EnqueueOptions options;
      options.id = "the-child";
      return options;
    }());
    sent = true;
  });
  plant.work();
  plant.end_of(plant.stem().enqueue("parent"));
  CHECK(sent);
  plant.end_of("the-child");
  const auto parent = plant.spans("stem.execute.parent", 1)[0];
  Json enqueue;
  for (const auto& span : plant.spans("stem.enqueue", 2))
    if (Collector::attributes(span)["stem.task"] == "child") enqueue = span;
  CHECK(enqueue["parentSpanId"] == parent["spanId"]);
  CHECK(enqueue["traceId"] == parent["traceId"]);
  CHECK(plant.spans("stem.execute.child", 1)[0]["traceId"] == parent["traceId"]);
}

EVERYWHERE("tracing: a chain, a group and a chord are one trace each, below one publication") {
  Traced<Place> plant;
  plant.tasks.add("one", [](TaskContext&) { return 1; });
  plant.tasks.add("sum", [](TaskContext& job) { return job.chord_results().size(); });
  plant.work();
  const auto chain = plant.stem().enqueue(Chain{{{"one"}, {"one"}, {"one"}}});
  plant.end_of(chain.links.back());
  const auto group = plant.stem().enqueue(Group{{{"one"}, {"one"}}});
  plant.end_of(group.id);
  const auto chord = plant.stem().enqueue(Chord{{{"one"}, {"one"}}, {"sum"}});
  plant.end_of(chord.callback);
  std::map<std::string, Json> published;
  for (const auto& span : plant.spans("stem.enqueue", 3))
    published[Collector::attributes(span)["stem.canvas"]] = span;
  std::map<std::string, int> of_trace;
  for (const auto& span : plant.spans("stem.consume", 8)) ++of_trace[span["traceId"]];
  CHECK(of_trace.size() == 3);
  CHECK(of_trace[published["chain"]["traceId"]] == 3);
  CHECK(of_trace[published["group"]["traceId"]] == 2);
  CHECK(of_trace[published["chord"]["traceId"]] == 3);
  CHECK(Collector::attributes(published["chord"])["stem.canvas.jobs"] == "3");
  for (const auto& span : plant.spans("stem.consume", 8))
    if (span["traceId"] == published["chain"]["traceId"]) {
      CHECK(span["parentSpanId"] == published["chain"]["spanId"]);
      CHECK(Collector::attributes(span)["stem.chain.id"] == chain.id);
    }
}

TEST_CASE("tracing: what follows a job is of its trace") {
  Traced<SqlitePlace> plant;
  plant.tasks.add("first", [](TaskContext&) {});
  plant.tasks.add("second", [](TaskContext&) {});
  Job first{"first"}, second{"second"};
  second.options.id = "second";
  first.options.then = {second};
  const auto id = plant.stem().enqueue(std::vector<Job>{first}).front();
  plant.work();
  plant.end_of("second");
  CHECK(plant.spans("stem.execute.second", 1)[0]["traceId"] ==
        plant.spans("stem.execute.first", 1)[0]["traceId"]);
  plant.spans("stem.enqueue", 1);
}

TEST_CASE("tracing: an unsampled parent is handed on, and nothing is told of") {
  Traced<MemoryPlace> plant;
  std::mutex mutex;
  std::vector<std::string> seen;
  plant.tasks.add("t", [&](TaskContext& job) {
    const std::lock_guard lock(mutex);
    seen.push_back(job.trace_headers()["traceparent"]);
  });
  plant.work();
  const auto id = plant.stem().enqueue("t", {}, in_trace("00-" + trace + "-" + parent_id + "-00"));
  plant.end_of(id);
  const auto told = plant.stem().enqueue("t", {}, in_trace());
  plant.end_of(told);
  plant.spans("stem.execute.t", 1);
  plant.spans("stem.consume", 1);
  plant.spans("stem.enqueue", 1);
  const std::lock_guard lock(mutex);
  CHECK(seen.at(0).starts_with("00-" + trace + "-"));
  CHECK(seen.at(0).ends_with("-00"));
}

TEST_CASE(
    "tracing: without a collector a producer's context still reaches the handler, and no other header "
    "appears") {
  Plant<SqlitePlace> plant;
  std::mutex mutex;
  std::vector<std::map<std::string, std::string>> seen, headers;
  plant.tasks.add("t", [&](TaskContext& job) {
    const std::lock_guard lock(mutex);
    seen.push_back(job.trace_headers());
    headers.push_back(job.headers());
    if (job.args().contains("child"))
      Stem(plant.config).enqueue("t", Json::object(), [] {
        EnqueueOptions options;
        options.id = "child";
        return options;
      }());
  });
  plant.work();
  plant.end_of(plant.stem().enqueue("t"));
  plant.end_of(plant.stem().enqueue("t", {{"child", true}}, in_trace()));
  plant.end_of("child");
  plant.end_of(plant.stem().enqueue("t", {}, in_trace("malformed")));
  const std::lock_guard lock(mutex);
  CHECK(seen.at(0).empty());
  CHECK(headers.at(0).empty());
  CHECK(seen.at(1)["traceparent"] == sampled_parent);
  CHECK(seen.at(2)["traceparent"] == sampled_parent);
  CHECK(seen.at(3).empty());
  CHECK(headers.at(3).empty());
}

TEST_CASE("tracing: the context is signed with the job, and a job whose context was changed is not run") {
  Traced<MemoryPlace> plant;
  plant.config.signing.keys = {{"k", "0123456789abcdef0123456789abcdef"}};
  plant.config.signing.active_key = "k";
  plant.tasks.add("t", [](TaskContext&) {});
  plant.work();
  CHECK(plant.end_of(plant.stem().enqueue("t", {}, in_trace())).state == TaskState::succeeded);
  const auto chain = plant.stem().enqueue(Chain{{{"t"}, {"t"}}});
  CHECK(plant.end_of(chain.links[1]).state == TaskState::succeeded);

  auto storage = plant.storage();
  Envelope forged;
  forged.id = "forged";
  forged.name = "t";
  forged.enqueued_at = Clock::system().wall();
  put_trace_context(forged.headers, parse_traceparent(sampled_parent));
  PayloadSigner::maybe(plant.config)->sign(forged);
  forged.headers["traceparent"] = "00-" + trace + "-" + parent_id + "-00";
  storage.broker->publish(std::span(&forged, 1));
  CHECK(plant.end_of("forged").state == TaskState::failed);
}

TEST_CASE("tracing: a unique job is the same job in whatever trace it is enqueued") {
  Traced<SqlitePlace> plant;
  const auto job = [&](const std::string& parent) {
    auto options = in_trace(parent);
    options.unique_for = 1h;
    return plant.stem().submit({{"t", {{"a", 1}}, options}}).front();
  };
  const auto first = job(sampled_parent);
  const auto second = job("00-11111111111111111111111111111111-2222222222222222-01");
  CHECK_FALSE(first.duplicate);
  CHECK(second.duplicate);
  CHECK(second.id == first.id);
  // What is told of the second is that nothing came of it, not a job that nobody ever had.
  const auto spans = plant.spans("stem.enqueue", 2);
  for (const auto& span : spans) CHECK(Collector::attributes(span)["stem.task.id"] == first.id);
  CHECK_FALSE(Collector::attributes(spans[0]).contains("stem.task.duplicate"));
  CHECK(Collector::attributes(spans[1])["stem.task.duplicate"] == true);
}

TEST_CASE("tracing: a job that is revoked while it runs is told of as its record has it") {
  Traced<SqlitePlace> plant;
  std::atomic<bool> runs{false};
  plant.tasks.add("t", [&](TaskContext& job) {
    runs = true;
    while (!job.cancelled()) poll(nullptr, 0, 5);
  });
  const auto id = plant.stem().enqueue("t");
  plant.work();
  Plant<SqlitePlace>::wait_until([&] { return runs.load(); });
  Fleet fleet(plant.config, plant.storage());
  const Revocation order{
      .job = id, .terminate = true, .reason = "wrong", .requester = "ann", .issued = Clock::system().wall()};
  fleet.orders().revoke({order});
  fleet.ask("revoke",
            {{"namespace", plant.config.name_space},
             {"revocations", Json::array({to_json(order, plant.config.name_space)})}},
            {}, 30s);
  CHECK(plant.end_of(id).state == TaskState::cancelled);
  for (const auto* name : {"stem.consume", "stem.execute.t"})
    CHECK(Collector::attributes(plant.spans(name, 1)[0])["stem.task.state"] == "cancelled");
}

TEST_CASE("tracing: programs of two namespaces in one process tell under their own names") {
  Traced<MemoryPlace> plant;
  auto config = plant.config;
  config.name_space = "other";
  config.node = "";
  Stem other(config);
  plant.stem().enqueue("t");
  other.enqueue("t");
  std::set<std::string> names;
  for (const auto& span : plant.spans("stem.enqueue", 2))
    names.insert(span["resource"]["service.name"].get<std::string>());
  CHECK(names == std::set<std::string>{"stem", "other"});
}

TEST_CASE(
    "tracing: a worker has a name of its own beside a program that has enqueued before, and its handlers "
    "tell with it") {
  Traced<MemoryPlace> plant;
  const auto& telemetry = plant.config.telemetry;
  const auto program = Tracer::shared(telemetry, {"stem", ""});
  const auto worker = Tracer::shared(telemetry, {"stem", "w1"});
  CHECK(program != worker);
  CHECK(worker->resource().find("w1@") != std::string::npos);
  CHECK(Tracer::shared(telemetry, {"stem", "w1"}) == worker);
  CHECK(Tracer::shared(telemetry, {"stem", "w2"}) != worker);
  CHECK(Tracer::shared(telemetry, {"other", ""}) != program);
}

TEST_CASE("tracing: a program goes on telling after all was ended, as before a fork") {
  Traced<MemoryPlace> plant;
  plant.config.telemetry.span_delay = 1h;
  plant.stem().enqueue("t");
  Tracer::finish_all();
  plant.spans("stem.enqueue", 1);
  plant.stem().enqueue("t");
  Tracer::finish_all();
  plant.spans("stem.enqueue", 2);
}

TEST_CASE(
    "tracing: the last words of several names are said at the same time, and who comes later waits, too") {
  Traced<MemoryPlace> plant;
  plant.config.telemetry.span_delay = 1h;
  plant.collector.reply_with({.hang = true});
  std::vector<std::shared_ptr<Tracer>> tracers;
  for (const auto* node : {"w1", "w2", "w3", "w4"}) {
    tracers.push_back(Tracer::shared(plant.config.telemetry, {"stem", node}));
    Span span;
    span.name = "t";
    span.context = tracers.back()->child_of(std::nullopt);
    span.start = span.end = Clock::system().wall();
    tracers.back()->add(std::move(span));
  }
  const auto begun = std::chrono::steady_clock::now();
  std::thread first([] { Tracer::finish_all(); });
  plant.wait_until([&] { return tracers[0]->exporter().finished(); });
  Tracer::finish_all();
  CHECK(std::chrono::steady_clock::now() - begun >= Tracer::last_words);
  first.join();
  CHECK(std::chrono::steady_clock::now() - begun < 2 * Tracer::last_words);
}

TEST_CASE("tracing: after the end of a process nothing more is told") {
  // Nobody listens there, so this process has no other thread: ThreadSanitizer takes a child's for one of its
  // parent's.
  TelemetryConfig config;
  config.traces.url = "http://127.0.0.1:9/v1/traces";
  const auto status = ChildProcess([&] {
                        const auto before = Tracer::shared(config, {"stem", ""});
                        Envelope job;
                        auto span = trace_enqueue(before.get(), job);
                        Tracer::end_all();
                        const auto after = Tracer::shared(config, {"stem", ""});
                        if (!before || !span || after) return 1;
                        end_enqueue(after.get(), std::move(span));
                        return 0;
                      }).wait();
  CHECK(status == 0);
}

TEST_CASE(
    "tracing: where last words are expected, a Stem of one job does not wait for the collector at its end") {
  Traced<MemoryPlace> plant;
  plant.config.telemetry.span_delay = 1h;
  plant.collector.reply_with({.hang = true});
  const auto status = ChildProcess([&] {
                        Tracer::keep_all();
                        const auto begun = std::chrono::steady_clock::now();
                        for (int i = 0; i < 5; ++i) Stem(plant.config).enqueue("t");
                        return std::chrono::steady_clock::now() - begun < Tracer::last_words ? 0 : 1;
                      }).wait();
  CHECK(status == 0);
}

TEST_CASE("tracing: a publication that fails is told of with its error") {
  Traced<MemoryPlace> plant;
  auto options = in_trace();
  options.id = "same";
  Job job{"t", {}, options};
  plant.stem();
  CHECK(error_of([&] { plant.stem().enqueue(Group{{job, job}}); }).status == 64);
  const auto span = plant.spans("stem.enqueue", 1)[0];
  CHECK(span["status"]["code"] == 2);
  CHECK(span["status"]["message"].get<std::string>().find("same id") != std::string::npos);
}

TEST_CASE("tracing: a scheduled job starts a trace of its own, with its schedule's name") {
  Traced<SqlitePlace> plant;
  plant.tasks.add("tick", [](TaskContext&) {});
  auto config = plant.config;
  auto options = beat_options(config, "beat");
  options.tracer = Tracer::shared(config.telemetry, {config.name_space, "beat"});
  ScheduleBook book(open_schedule_places(config).schedules);
  book.commit(
      {.revision = book.revision(),
       .put = {schedule_entry_from(Json{{"name", "often"}, {"task", "tick"}, {"schedule", "every:1s"}})},
       .remove = {}});
  Scheduler scheduler(std::move(options), open_schedule_places(config));
  scheduler.start();
  plant.work();
  // Scheduler and worker tell of them each in its own time.
  std::set<std::string> both;
  const auto deadline = std::chrono::steady_clock::now() + 30s;
  while (both.size() < 2 && std::chrono::steady_clock::now() < deadline) {
    poll(nullptr, 0, 20);
    std::set<std::string> executed;
    for (const auto& span : plant.collector.spans())
      if (span["name"] == "stem.execute.tick") executed.insert(span["traceId"]);
    for (const auto& span : plant.collector.spans())
      if (span["name"] == "stem.enqueue" && executed.contains(span["traceId"]) &&
          Collector::attributes(span)["stem.schedule.id"] == "often")
        both.insert(span["traceId"]);
  }
  CHECK(both.size() >= 2);
  scheduler.stop();
}

TEST_CASE(
    "tracing: a thousand jobs lose nothing to a collector that is gone, and their spans are counted as "
    "dropped") {
  Traced<MemoryPlace> plant;
  plant.collector.stop();
  plant.config.telemetry.span_queue = 50;
  plant.config.telemetry.span_batch = 10;
  std::atomic<int> runs{0};
  plant.tasks.add("t", [&](TaskContext&) { ++runs; });
  plant.work();
  const auto ids = plant.stem().enqueue(std::vector<Job>(1000, Job{"t"}));
  for (const auto& id : ids) CHECK(plant.end_of(id).state == TaskState::succeeded);
  CHECK(runs == 1000);
  CHECK(plant.tracer->exporter().waiting() <= 50);
  CHECK(plant.tracer->exporter().dropped().spans >= 1950);  // of the worker's; the producer has its own
}
