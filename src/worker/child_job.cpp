#include "worker/child_job.hpp"

#include <fcntl.h>
#include <malloc.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <stem/error.hpp>

#include "core/json_depth.hpp"
#include "core/last_words.hpp"
#include "core/log_scope.hpp"
#include "core/trace_scope.hpp"
#include "telemetry/tracer.hpp"
#include "worker/attempts.hpp"
#include "worker/handler_failure.hpp"

namespace stem {
namespace {

/// Of what a job is given, or answers, in bytes: more than this is given back to the system.
constexpr std::size_t large_job = 1 << 20;

using Kind = ChildFrame::Kind;
using std::chrono::milliseconds;

/// Resident memory; 0 where it cannot be read.
std::uint64_t memory_now() {
  static const int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  static const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  char text[128];
  const auto length = file < 0 ? -1 : pread(file, text, sizeof text, 0);
  if (length <= 0) return 0;
  const std::string_view fields(text, static_cast<std::size_t>(length));
  const auto second = fields.substr(std::min(fields.find(' ') + 1, fields.size()));
  std::uint64_t resident = 0;
  if (std::from_chars(second.data(), second.data() + second.size(), resident).ec != std::errc{}) return 0;
  return resident * page;
}

/// The TaskContext of a job in a child.
class ChildContext final : public TaskContext {
 public:
  ChildContext(const ChildFrame& frame, ChildChannel& channel, const std::atomic<bool>& cancelled)
      : channel_(channel), ordered_(cancelled) {
    FieldReader fields(frame);
    envelope_ = envelope_from_wire(fields.text());
    queue_ = fields.text();
    attempt_ = static_cast<int>(fields.number());
    ignore_result = fields.number() != 0;
    if (const auto soft = fields.number(); soft >= 0)
      soft_deadline_ = std::chrono::steady_clock::now() + Duration{soft};
    if (const auto previous = fields.text(); !previous.empty()) previous_ = result_from_wire(previous);
    const auto members = fields.number();
    for (std::int64_t i = 0; i < members; ++i) chord_results_.push_back(Json::from_cbor(fields.text()));
    trace_ = parse_traceparent(fields.text());
    const auto state = fields.text();
    if (trace_) trace_->state = state;
  }

  const std::string& id() const override { return envelope_.id; }
  const std::string& task() const override { return envelope_.name; }
  const std::string& queue() const override { return queue_; }
  int attempt() const override { return attempt_; }
  int max_retries() const override { return max_retries_; }
  const Json& args() const override { return envelope_.args; }
  const std::map<std::string, std::string>& headers() const override { return envelope_.headers; }
  const Result* previous() const override { return previous_ ? &*previous_ : nullptr; }
  const std::vector<Json>& chord_results() const override { return chord_results_; }
  spdlog::logger& log() override { return *spdlog::default_logger_raw(); }
  void heartbeat() override {
    const auto now = std::chrono::steady_clock::now();
    if (now < next_heartbeat_) return;
    next_heartbeat_ = now + milliseconds{100};
    extend_lease(Duration{1});
  }
  void extend_lease(Duration length) override {
    const auto now = std::chrono::steady_clock::now();
    // Said just before: the worker need not hear it again.
    if (length == extension_ && now < next_extension_) return;
    extension_ = length;
    next_extension_ = now + milliseconds{100};
    say(Kind::extend, Fields().number(length.count()));
  }
  void progress(double fraction, const std::string& note) override {
    const auto now = std::chrono::steady_clock::now();
    // The worker takes all that it is told.
    if (now < next_progress_ || ignore_result) return;
    next_progress_ = now + std::chrono::seconds{1};
    say(Kind::progress, Fields().real(fraction).text(note));
  }
  bool cancelled() const override {
    return ordered_ || (soft_deadline_ && std::chrono::steady_clock::now() >= *soft_deadline_);
  }

  std::map<std::string, std::string> trace_headers() const override {
    std::map<std::string, std::string> headers;
    put_trace_context(headers, trace_);
    return headers;
  }
  const std::optional<TraceContext>& trace() const { return trace_; }

  void task_is(const Registry::Task& task) { max_retries_ = allowed_retries(envelope_, task.options); }
  bool ignore_result = false;

 private:
  void say(Kind kind, Fields& fields) { channel_.send({kind, fields.take()}, -1); }

  ChildChannel& channel_;
  const std::atomic<bool>& ordered_;
  Envelope envelope_;
  std::string queue_;
  int attempt_ = 0, max_retries_ = 0;
  std::optional<SteadyTime> soft_deadline_;
  std::optional<Result> previous_;
  std::vector<Json> chord_results_;
  std::optional<TraceContext> trace_;
  Duration extension_{};
  SteadyTime next_progress_{}, next_heartbeat_{}, next_extension_{};
};

/// All but the memory, which is measured when the job is gone.
ChildFrame answer_frame(Outcome outcome, bool ignore_result) {
  Fields fields;
  Kind kind{};
  if (auto* done = std::get_if<Done>(&outcome)) {
    kind = Kind::done;
    if (ignore_result) done->value = nullptr;
    if (too_deep(done->value))
      throw Error(Exit::data, "the result is nested deeper than " + std::to_string(deepest_json) + " levels");
    std::string bytes;
    Json::to_cbor(done->value, bytes);
    fields.text(bytes);
  } else if (const auto* retry = std::get_if<Retry>(&outcome)) {
    kind = Kind::retry;
    fields.text(retry->reason).number(retry->delay ? 1 : 0).number(retry->delay.value_or(Duration{}).count());
  } else if (const auto* dead = std::get_if<Dead>(&outcome)) {
    kind = Kind::dead;
    fields.text(dead->reason);
  } else {
    kind = Kind::put_back;
    fields.number(std::get<PutBack>(outcome).delay.count());
  }
  return {kind, fields.take()};
}

ChildFrame run(const ChildFrame& frame, const Registry& tasks, ChildChannel& channel,
               const std::atomic<bool>& cancelled) {
  try {
    ChildContext context(frame, channel, cancelled);
    const auto* task = tasks.find(context.task());
    if (!task) throw Error(Exit::software, "the pool's child does not know the task " + context.task());
    context.task_is(*task);
    const LogScope scope(context.id(), context.task(), context.queue(), context.attempt());
    std::optional<TraceScope> traced;
    if (context.trace()) traced.emplace(*context.trace());
    return answer_frame(task->handler(context), context.ignore_result);
  } catch (...) {
    const auto failure = failure_now();
    return {Kind::failed, Fields().text(failure.type).text(failure.message).take()};
  }
}

}  // namespace

ChildFrame job_frame(const LeasedJob& job, std::optional<Duration> soft) {
  Fields fields;
  fields.text(job.delivery.wire).text(job.delivery.queue).number(job.delivery.attempt);
  fields.number(job.ignore_result ? 1 : 0);
  fields.number(soft ? std::max<std::int64_t>(soft->count(), 0) : -1);
  fields.text(job.previous ? to_wire(*job.previous) : std::string());
  fields.number(static_cast<std::int64_t>(job.chord_results.size()));
  for (const auto& result : job.chord_results) {
    std::string bytes;
    Json::to_cbor(result, bytes);
    fields.text(bytes);
  }
  fields.text(job.trace ? to_traceparent(job.trace->execute) : std::string());
  fields.text(job.trace ? job.trace->execute.state : std::string());
  return {Kind::job, fields.take()};
}

Outcome read_answer(const ChildFrame& frame, std::uint64_t& memory) {
  FieldReader fields(frame);
  const auto rest = [&] { memory = static_cast<std::uint64_t>(fields.number()); };
  try {
    if (frame.kind == Kind::done) {
      const auto bytes = fields.text();
      rest();
      return Done{Json::from_cbor(bytes)};
    }
    if (frame.kind == Kind::retry) {
      Retry retry{std::string(fields.text())};
      const bool delayed = fields.number() != 0;
      const Duration delay{fields.number()};
      if (delayed) retry.delay = delay;
      rest();
      return retry;
    }
    if (frame.kind == Kind::dead) {
      Dead dead{std::string(fields.text())};
      rest();
      return dead;
    }
    if (frame.kind == Kind::put_back) {
      const Duration delay{fields.number()};
      rest();
      return PutBack{delay};
    }
  } catch (const Json::exception& error) {
    throw Error(Exit::software, std::string("what a pool's child says is no value: ") + error.what());
  }
  if (frame.kind != Kind::failed) throw Error(Exit::software, "a pool's child says what it should not");
  HandlerFailed failed;
  failed.failure.type = fields.text();
  failed.failure.message = fields.text();
  rest();
  throw failed;
}

void serve_jobs(const Registry& tasks, int socket, const std::atomic<bool>& cancelled,
                const std::function<void()>& enter) {
  ChildChannel channel{Descriptor(socket)};
  // Handlers whose Stem lasts for one job only would else wait for a collector at the end of each.
  Tracer::keep_all();
  try {
    enter();
  } catch (...) {
    channel.send({Kind::unable, Fields().text(failure_now().message).take()}, -1);
    _exit(static_cast<int>(Exit::config));
  }
  channel.send({Kind::hello, Fields().number(static_cast<std::int64_t>(memory_now())).take()}, -1);
  ChildFrame frame;
  while (channel.receive(frame, -1) == ChildChannel::Event::frame) {
    const bool large = frame.fields.size() > large_job;
    auto answer = run(frame, tasks, channel, cancelled);
    std::string().swap(frame.fields);                               // or one large job would be kept for ever
    if (large || answer.fields.size() > large_job) malloc_trim(0);  // what it held was in many pieces
    const auto memory = memory_now();
    const auto own = std::min<std::uint64_t>(memory, answer.fields.capacity());
    answer.fields += Fields().number(static_cast<std::int64_t>(memory - own)).take();
    if (channel.send(answer, -1) != ChildChannel::Event::frame) break;
  }
  // What handlers have printed: who lingers at its last words may be killed. Not all files: a thread that
  // reads from one has its lock.
  std::fflush(stdout);
  LastWords::say();
  // Not exit(): what is destroyed then may be what the worker still uses, such as files that it removes.
  std::fflush(nullptr);
  _exit(0);
}

}  // namespace stem
