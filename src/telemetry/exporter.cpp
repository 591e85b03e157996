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

#include "core/name.hpp"
#include "core/otlp.hpp"
#include "core/redaction.hpp"
#include "telemetry/gzip.hpp"

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

double chance() {
  static thread_local std::minstd_rand random{std::random_device{}()};
  return std::uniform_real_distribution<>{0.0, 1.0}(random);
}

}  // namespace

Exporter::Exporter(const TelemetryConfig& config, std::string resource, ExporterReport report)
    : config_(config), resource_(std::move(resource)), report_(std::move(report)) {
  // Signals are for others: the thread is born with all of them blocked.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Exporter::~Exporter() {
  finish(Duration::zero());
}

bool Exporter::room(std::size_t spans) {
  if (held_ + spans <= config_.span_queue && !stopping_) return true;
  dropped_spans_ += spans;
  return false;
}

void Exporter::add(Span&& span) {
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

void Exporter::finish(Duration limit) {
  {
    const std::lock_guard lock(mutex_);
    if (finishing_) return;
    finishing_ = true;
    stop_by_ = (now() + limit).time_since_epoch().count();
    stopping_ = true;
  }
  changed_.notify_one();
  {
    // A request under way ends, or is given up, by `stop_by_`.
    const std::lock_guard lock(mutex_);
    if (auto* const post = posting_.load()) post->wake();
  }
  thread_.join();
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
      while (!gave_up_ && !out_of_time() && (batch_.spans > 0 || !spans_.empty())) send_spans(lock);
      if (!gave_up_ && !out_of_time()) send_metrics(lock);
      dropped_spans_ += held_;
      held_ = 0;
      spans_.clear();
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
  const auto way = [&](Way& one, const std::string& url, const char* what) {
    if (url.empty()) return;
    try {
      one.post = std::make_unique<HttpPost>(url, config_);
    } catch (const std::exception& error) {
      if (report_) report_(false, std::string(what) + " are not sent: " + error.what());
    }
  };
  way(traces_, config_.traces_url, "spans");
  way(metrics_, config_.metrics_url, "metrics");
}

SteadyTime Exporter::next_due() const {
  auto due = SteadyTime::max();
  if (batch_.spans > 0)
    due = batch_.next;
  else if (!spans_.empty())
    due = spans_.size() >= config_.span_batch ? first_at_ : first_at_ + config_.span_delay;
  if (source_) due = std::min(due, next_metrics_);
  // For ever would overflow on its way to the kernel.
  return std::min(due, now() + std::chrono::hours{1});
}

void Exporter::turn(std::unique_lock<std::mutex>& lock) {
  const auto time = now();
  if (source_ && time >= next_metrics_) {
    send_metrics(lock);
    next_metrics_ = now() + config_.metric_interval;
  }
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
  ++batch_.tries;
  if (answer.kind == HttpAnswer::Kind::accepted) {
    const auto [count, why] = rejected(answer.body, "rejectedSpans");
    dropped_spans_ += count;
    note(traces_, "spans",
         count > 0 ? HttpAnswer{HttpAnswer::Kind::refused, "it rejects " + std::to_string(count) + " of " +
                                                               std::to_string(batch_.spans) +
                                                               (why.empty() ? "" : ": " + why)}
                   : answer,
         count);
    end_batch(true);
  } else {
    const bool again =
        answer.kind == HttpAnswer::Kind::later && !stopping_ && now() - batch_.since < give_up_after;
    note(traces_, "spans", answer, again ? 0 : batch_.spans);
    if (again)
      batch_.next = now() + std::max(pauses_.delay(batch_.tries - 1, chance()),
                                     std::min(answer.retry_after, longest_pause));
    else
      end_batch(false);
    gave_up_ = stopping_;
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
    if (report_) report_(false, std::string("metrics cannot be told: ") + redacted(error.what()));
  }
  lock.lock();
  asking_ = false;
  told_.notify_all();
  if (request.points == 0 || config_.metrics_url.empty()) return;
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
  dropped_points_ += lost;
  note(metrics_, "metrics", answer, lost);
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
    answer = way.post->post(config_.gzip ? gzip(body) : body, [this] { return out_of_time(); });
  } catch (const std::exception& error) {
    answer = {HttpAnswer::Kind::refused, error.what()};
  }
  const std::lock_guard lock(mutex_);
  posting_ = nullptr;
  return answer;
}

/// One line when it begins to fail, one when it is well again.
void Exporter::note(Way& way, const char* what, const HttpAnswer& answer, std::size_t dropped) {
  way.dropped += dropped;
  const bool good = answer.kind == HttpAnswer::Kind::accepted;
  // Without libcurl it was said, and a stop is no fault of the collector's.
  if (!way.post || answer.kind == HttpAnswer::Kind::given_up || good != way.fails) return;
  way.fails = !good;
  const auto lost = way.dropped > 0
                        ? ", " + std::to_string(way.dropped) +
                              (way.post == traces_.post ? " spans" : " points") + " were dropped meanwhile"
                        : "";
  std::string line = good ? "the collector takes " : "the collector does not take ";
  line.append(what).append(" at ").append(redacted_url(way.post->url()));
  if (good)
    line.append(" again").append(lost);
  else
    line.append(": ").append(answer.why).append("; jobs are run without");
  if (good) way.dropped = 0;
  if (report_) report_(good, line);
}

}  // namespace stem
