#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <stem/retry_policy.hpp>
#include <string>
#include <thread>
#include <vector>

#include "core/span.hpp"
#include "telemetry/http_post.hpp"

namespace stem {

/// What it tells of itself: `good` = it works again, else it fails. One line, without secrets. On the
/// exporter's thread.
using ExporterReport = std::function<void(bool good, const std::string& line)>;

/// What was given up, because the collector did not take it in time or for good.
struct ExporterDropped {
  std::uint64_t spans = 0;
  std::uint64_t points = 0;  ///< of metrics
};

/// A metrics request, ready to be sent, and how many data points are in it.
struct MetricsRequest {
  std::string body{};
  std::size_t points = 0;
};

/// Tells a collector, on a thread of its own with low priority, and never holds up whoever has something to
/// tell: spans wait in a queue of config.span_queue, that which is being sent included, and those beyond are
/// dropped and counted. Batches are tried again with growing pauses, or when the collector asks for it
/// (Retry-After), and given up after a minute. Metrics are cumulative: what fails is made up for by the next.
///
/// What ends each wait: finish(); a request ends by its timeout. If the process dies here, what waits is
/// lost.
class Exporter {
 public:
  /// `resource` is otlp_attributes() of who tells. Starts the thread, which loads libcurl. If the system
  /// gives none it says so, drops what it is given, and does not throw.
  Exporter(const TelemetryConfig& config, std::string resource, ExporterReport report = {});
  /// finish() without a time: what waits is dropped.
  ~Exporter();
  Exporter(const Exporter&) = delete;
  Exporter& operator=(const Exporter&) = delete;

  /// Whether add() would take so many more; if not, they are counted as dropped, and need not be made.
  bool room(std::size_t spans = 1);
  void add(Span&& span);
  /// From now on, `source` is asked on the exporter's thread, every config.metric_interval and at the end. It
  /// may return nothing.
  void tell_metrics(std::function<MetricsRequest()> source);
  /// `source` is not asked any more once this has returned. Before what it reads goes away.
  void forget_metrics();

  /// From now on it sends what waits, and the metrics once more, for `limit` at the most, takes nothing more,
  /// and then ends; what is left is dropped. Later calls change nothing.
  void begin_to_end(Duration limit);
  /// begin_to_end(), and waits until it has ended. Whoever calls it waits.
  void finish(Duration limit);

  /// Whether it was told to end.
  bool finished() const { return finished_; }
  /// Who hears what it has to say, if nobody did so far; and what is still so of what was said before.
  void report_to(ExporterReport report);
  ExporterDropped dropped() const { return {dropped_spans_, dropped_points_}; }
  /// Spans that wait or are on their way.
  std::size_t waiting() const { return held_; }

  static constexpr Duration give_up_after = std::chrono::minutes{1};
  static constexpr Duration longest_pause = std::chrono::minutes{5};  ///< whatever Retry-After says
  /// Of a name, an attribute or an error, in bytes. Some of it comes from producers as it is, and what waits
  /// is counted in spans.
  static constexpr std::size_t longest_text = 1024;

 private:
  /// One address, and how it goes there.
  struct Way {
    std::unique_ptr<HttpPost> post{};
    bool fails = false;
    std::uint64_t dropped_before = 0;  ///< until it began to fail
    SteadyTime not_before{};           ///< as the collector asked
    bool gave_up = false;              ///< while it is to end: the collector takes nothing there
  };
  /// Spans on their way.
  struct Batch {
    std::string body{};
    std::size_t spans = 0;
    int tries = 0;
    SteadyTime since{}, next{};
  };

  void run();
  void turn(std::unique_lock<std::mutex>& lock);
  void open();
  void send_spans(std::unique_lock<std::mutex>& lock);
  void send_metrics(std::unique_lock<std::mutex>& lock);
  HttpAnswer send(Way& way, const std::string& body);
  void end_batch(bool accepted);
  void note(Way& way, const char* what, const HttpAnswer& answer, std::uint64_t dropped_before);
  void say(bool good, const std::string& line);
  bool out_of_time() const;
  SteadyTime next_due() const;

  const TelemetryConfig config_;
  const std::string resource_;
  const RetryPolicy pauses_{std::chrono::seconds{1}, std::chrono::seconds{30}, 2.0, 0.5};

  std::mutex report_mutex_;
  ExporterReport report_;             ///< of report_mutex_, as is the next
  std::vector<std::string> unheard_;  ///< what does not work, said while there was no report_

  mutable std::mutex mutex_;
  std::condition_variable changed_, told_;
  std::deque<Span> spans_;  ///< of mutex_, as are all that follow up to next_metrics_
  SteadyTime first_at_{};   ///< when the first of them came
  std::function<MetricsRequest()> source_;
  bool asking_ = false;
  SteadyTime next_metrics_{};

  std::atomic<std::size_t> held_{0};
  std::atomic<std::uint64_t> dropped_spans_{0}, dropped_points_{0};
  std::atomic<bool> stopping_{false}, finished_{false};
  std::atomic<SteadyTime::rep> stop_by_{0};
  std::atomic<HttpPost*> posting_{nullptr};

  // The thread's own.
  Way traces_, metrics_;
  Batch batch_;

  std::mutex joining_;
  std::thread thread_;
};

}  // namespace stem
