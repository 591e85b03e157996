#include "telemetry/exporter.hpp"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <stem/error.hpp>
#include <stem/json.hpp>

#include "core/cut_text.hpp"
#include "core/name.hpp"
#include "core/otlp.hpp"
#include "core/redaction.hpp"

namespace stem {
namespace {

SteadyTime now() {
  return std::chrono::steady_clock::now();
}

/// How many of the request's the collector did not take although it answers that all is well ("OTLP
/// Specification", Partial Success), and what it says of them.
std::pair<std::uint64_t, std::string> rejected(const std::string& body, const char* field) {
  const auto json = Json::parse(body, nullptr, false);
  const auto part = json.is_object() ? json.find("partialSuccess") : json.end();
  if (!json.is_object() || part == json.end() || !part->is_object()) return {};
  std::uint64_t count = 0;
  if (const auto number = part->find(field); number != part->end()) {
    if (number->is_number_unsigned())
      count = number->get<std::uint64_t>();
    else if (number->is_string())  // as the JSON encoding has 64-bit numbers
      count = std::strtoull(number->get_ref<const std::string&>().c_str(), nullptr, 10);
  }
  const auto message = part->find("errorMessage");
  return {count, message != part->end() && message->is_string()
                     ? printable(message->get_ref<const std::string&>())
                     : std::string()};
}

/// All signals are for others while it lives: a thread that is made meanwhile is born with them blocked.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

void bound(Span& span) {
  cut_text(span.name, Exporter::longest_text);
  cut_text(span.error, Exporter::longest_text);
  for (auto& one : span.attributes)
    if (auto* const text = std::get_if<std::string>(&one.value)) cut_text(*text, Exporter::longest_text);
}

double chance() {
  static thread_local std::minstd_rand random{std::random_device{}()};
  return std::uniform_real_distribution<>{0.0, 1.0}(random);
}

}  // namespace

Exporter::Exporter(const TelemetryConfig& config, std::string resource, ExporterReport report)
    : config_(config), resource_(std::move(resource)), report_(std::move(report)) {
  const SignalsBlocked blocked;
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error& error) {
    stopping_ = true;
    say(false, std::string("a collector is told nothing, for want of a thread: ").append(error.what()));
  }
}

Exporter::~Exporter() {
  finish(Duration::zero());
}

bool Exporter::room(std::size_t spans) {
  if (held_ + spans <= config_.span_queue && !stopping_) return true;
  dropped_spans_ += spans;
  return false;
}

void Exporter::report_to(ExporterReport report) {
  const std::lock_guard lock(report_mutex_);
  if (report_ || !report) return;
  report_ = std::move(report);
  for (const auto& line : std::exchange(unheard_, {})) report_(false, line);
}

void Exporter::say(bool good, const std::string& line) {
  const std::lock_guard lock(report_mutex_);
  if (report_)
    report_(good, line);
  else if (good)
    unheard_.clear();
  else if (unheard_.size() < 4)
    unheard_.push_back(line);
}

void Exporter::add(Span&& span) {
  bound(span);
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || held_ >= config_.span_queue) {
      ++dropped_spans_;
      return;
    }
    ++held_;
    if (spans_.empty()) first_at_ = now();
    spans_.push_back(std::move(span));
    // It sleeps until the first has waited long enough, or there is a batch.
    if (spans_.size() != 1 && spans_.size() != config_.span_batch) return;
  }
  changed_.notify_one();
}

void Exporter::tell_metrics(std::function<MetricsRequest()> source) {
  {
    const std::lock_guard lock(mutex_);
    source_ = std::move(source);
    next_metrics_ = now() + config_.metric_interval;
  }
  changed_.notify_one();
}

void Exporter::forget_metrics() {
  std::unique_lock lock(mutex_);
  source_ = nullptr;
  told_.wait(lock, [&] { return !asking_; });
}

void Exporter::begin_to_end(Duration limit) {
  {
    const std::lock_guard lock(mutex_);
    if (finished_) return;
    finished_ = true;
    stop_by_ = (now() + limit).time_since_epoch().count();
    stopping_ = true;
    // A request under way ends, or is given up, by `stop_by_`.
    if (auto* const post = posting_.load()) post->wake();
  }
  changed_.notify_one();
}

void Exporter::finish(Duration limit) {
  begin_to_end(limit);
  const std::lock_guard lock(joining_);
  if (thread_.joinable()) thread_.join();
}

bool Exporter::out_of_time() const {
  return stopping_ && now() >= SteadyTime{SteadyTime::duration{stop_by_}};
}

void Exporter::run() {
  pthread_setname_np(pthread_self(), "stem-telemetry");
  setpriority(PRIO_PROCESS, static_cast<id_t>(syscall(SYS_gettid)), 10);  // of this thread alone: Linux
  open();
  std::unique_lock lock(mutex_);
  for (;;) {
    if (stopping_) {
      while (!traces_.gave_up && !out_of_time() && (batch_.spans > 0 || !spans_.empty())) send_spans(lock);
      if (!out_of_time()) send_metrics(lock);
      dropped_spans_ += held_;
      held_ = 0;
      spans_.clear();
      lock.unlock();
      // Here, and not when we are destroyed: that may be after main(), when what does TLS is gone.
      traces_.post.reset();
      metrics_.post.reset();
      return;
    }
    if (const auto due = next_due(); due > now()) {
      changed_.wait_until(lock, due);
      continue;
    }
    turn(lock);
  }
}

void Exporter::open() {
  const auto way = [&](Way& one, const CollectorConfig& config, const char* what) {
    if (config.url.empty()) return;
    try {
      one.post = std::make_unique<HttpPost>(config);
    } catch (const std::exception& error) {
      say(false, std::string(what).append(" are not sent: ").append(error.what()));
    }
  };
  way(traces_, config_.traces, "spans");
  way(metrics_, config_.metrics, "metrics");
}

SteadyTime Exporter::next_due() const {
  auto due = SteadyTime::max();
  if (batch_.spans > 0)
    due = batch_.next;
  else if (!spans_.empty())
    due = spans_.size() >= config_.span_batch ? first_at_ : first_at_ + config_.span_delay;
  if (due != SteadyTime::max()) due = std::max(due, traces_.not_before);
  if (source_) due = std::min(due, next_metrics_);
  // For ever would overflow on its way to the kernel.
  return std::min(due, now() + std::chrono::hours{1});
}

void Exporter::turn(std::unique_lock<std::mutex>& lock) {
  const auto time = now();
  if (source_ && time >= next_metrics_) {
    send_metrics(lock);
    next_metrics_ = std::max(now() + config_.metric_interval, metrics_.not_before);
  }
  if (time < traces_.not_before) return;
  const bool due = batch_.spans > 0 ? time >= batch_.next
                                    : !spans_.empty() && (spans_.size() >= config_.span_batch ||
                                                          time >= first_at_ + config_.span_delay);
  if (due) send_spans(lock);
}

void Exporter::send_spans(std::unique_lock<std::mutex>& lock) {
  if (batch_.spans == 0) {
    std::vector<Span> taken;
    const auto count = std::min(spans_.size(), config_.span_batch);
    taken.reserve(count);
    std::move(spans_.begin(), spans_.begin() + static_cast<std::ptrdiff_t>(count), std::back_inserter(taken));
    spans_.erase(spans_.begin(), spans_.begin() + static_cast<std::ptrdiff_t>(count));
    first_at_ = now();
    lock.unlock();
    batch_ = {otlp_traces(taken, resource_), taken.size(), 0, now(), {}};
  } else {
    lock.unlock();
  }
  const auto answer = send(traces_, batch_.body);
  const std::uint64_t dropped_before = dropped_spans_;
  ++batch_.tries;
  if (answer.kind == HttpAnswer::Kind::accepted) {
    const auto [count, why] = rejected(answer.body, "rejectedSpans");
    dropped_spans_ += count;
    note(traces_, "spans",
         count > 0 ? HttpAnswer{HttpAnswer::Kind::refused, "it rejects " + std::to_string(count) + " of " +
                                                               std::to_string(batch_.spans) +
                                                               (why.empty() ? "" : ": " + why)}
                   : answer,
         dropped_before);
    end_batch(true);
  } else {
    // One that answers is asked for the rest, too; of one that does not, nothing is to be had in time.
    traces_.gave_up = stopping_ && answer.kind != HttpAnswer::Kind::refused;
    // Not to be asked again before it is too late for this batch: dropped at once, the next ones wait.
    const bool again = answer.kind == HttpAnswer::Kind::later && !stopping_ &&
                       now() - batch_.since + answer.retry_after < give_up_after;
    if (again)
      batch_.next = now() + std::max(pauses_.delay(batch_.tries - 1, chance()), answer.retry_after);
    else
      end_batch(false);
    note(traces_, "spans", answer, dropped_before);
  }
  lock.lock();
}

void Exporter::end_batch(bool accepted) {
  if (!accepted) dropped_spans_ += batch_.spans;
  held_ -= batch_.spans;
  batch_ = {};
}

void Exporter::send_metrics(std::unique_lock<std::mutex>& lock) {
  if (!source_) return;
  const auto source = source_;
  asking_ = true;
  lock.unlock();
  MetricsRequest request;
  try {
    request = source();
  } catch (const std::exception& error) {
    say(false, std::string("metrics cannot be told: ").append(redacted(error.what())));
  }
  lock.lock();
  asking_ = false;
  told_.notify_all();
  if (request.points == 0 || config_.metrics.url.empty()) return;
  lock.unlock();
  auto answer = send(metrics_, request.body);
  std::uint64_t lost = answer.kind == HttpAnswer::Kind::accepted ? 0 : request.points;
  if (answer.kind == HttpAnswer::Kind::accepted) {
    const auto [count, why] = rejected(answer.body, "rejectedDataPoints");
    lost = count;
    if (count > 0)
      answer = {HttpAnswer::Kind::refused, "it rejects " + std::to_string(count) + " of " +
                                               std::to_string(request.points) + " points" +
                                               (why.empty() ? "" : ": " + why)};
  }
  const std::uint64_t dropped_before = dropped_points_;
  dropped_points_ += lost;
  note(metrics_, "metrics", answer, dropped_before);
  lock.lock();
}

HttpAnswer Exporter::send(Way& way, const std::string& body) {
  if (!way.post) return {HttpAnswer::Kind::refused, {}};
  {
    const std::lock_guard lock(mutex_);
    posting_ = way.post.get();
  }
  HttpAnswer answer;
  try {
    answer = way.post->post(body, [this] { return out_of_time(); });
  } catch (const std::exception& error) {
    answer = {HttpAnswer::Kind::refused, error.what()};
  }
  if (answer.kind == HttpAnswer::Kind::later)
    way.not_before = now() + std::min(answer.retry_after, longest_pause);
  const std::lock_guard lock(mutex_);
  posting_ = nullptr;
  return answer;
}

/// One line when it begins to fail, one when it is well again. `dropped_before`: until this answer.
void Exporter::note(Way& way, const char* what, const HttpAnswer& answer, std::uint64_t dropped_before) {
  const bool good = answer.kind == HttpAnswer::Kind::accepted;
  // Without libcurl it was said, and a stop is no fault of the collector's.
  if (!way.post || answer.kind == HttpAnswer::Kind::given_up || good != way.fails) return;
  way.fails = !good;
  if (!good) way.dropped_before = dropped_before;
  const bool spans = &way == &traces_;
  // With those that found no room meanwhile.
  const auto dropped = (spans ? dropped_spans_ : dropped_points_) - way.dropped_before;
  std::string lost;
  if (dropped > 0)
    lost.append(", ")
        .append(std::to_string(dropped))
        .append(spans ? " spans" : " points")
        .append(" were dropped meanwhile");
  std::string line = good ? "the collector takes " : "the collector does not take ";
  line.append(what).append(" at ").append(redacted_url(way.post->url()));
  if (good)
    line.append(" again").append(lost);
  else
    line.append(": ").append(answer.why).append("; jobs are run without");
  say(good, line);
}

}  // namespace stem
