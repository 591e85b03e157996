#include <mutex>
#include <stem/stem.hpp>

#include "core/id.hpp"
#include "storage/open.hpp"
#include "worker/attempts.hpp"
#include "worker/routing_file.hpp"

namespace stem {

struct Stem::Connections {
  Config config;
  Storage storage;
  std::optional<PayloadSigner> signer{};
  bool signer_made = false;
  std::optional<Routing> routing{};
  std::mutex preparing{};

  /// For the first job: who only reads results does without OpenSSL and the routing file.
  void prepare() {
    const std::lock_guard lock(preparing);
    if (!routing) routing = routing_of(config).routing;
    if (!signer_made) signer = PayloadSigner::maybe(config);
    signer_made = true;
  }

  /// A job on its way: into its queue, or to everyone who listens on a channel.
  struct Posting {
    Envelope envelope;
    Routing::Destination to;
  };

  Posting posting(const Job& job) {
    prepare();
    const auto& options = job.options;
    const auto now = Clock::system().wall();
    Envelope envelope;
    envelope.id = options.id.empty() ? new_id(now) : options.id;
    envelope.name = job.task;
    envelope.args = job.args;
    envelope.headers = options.headers;
    envelope.enqueued_at = now;
    if (options.eta)
      envelope.not_before = options.eta;
    else if (options.delay)
      envelope.not_before = now + *options.delay;
    envelope.max_retries = options.max_retries.value_or(config.default_max_retries);
    // Marks what was asked for by name, which a task's own setting does not override.
    if (options.max_retries) envelope.meta["stem.retryPolicy"] = {{"maxRetries", *options.max_retries}};
    envelope.meta["stem.task"] = job.task;
    // What was asked for is checked before routing makes something else of it.
    envelope.priority = options.priority;
    envelope.queue = options.queue.empty() ? routing->default_queue : options.queue;
    validate(envelope);
    const auto to = routing->destination(job.task, options.headers, options.queue, options.priority);
    envelope.queue = to.name;
    envelope.priority = to.priority;
    if (signer) signer->sign(envelope);
    return {std::move(envelope), to};
  }

  /// What the broker knows of a job that has not ended, as a Result; `record` is the last one written, if any.
  static Result unfinished(const std::string& id, const JobView& view, const std::optional<Result>& record) {
    Result result = record && !is_final(record->state) ? *record : Result{};
    result.id = id;
    result.attempt = view.attempt;
    if (view.state == JobView::State::leased)
      result.state = TaskState::running;
    else if (result.state != TaskState::retried)
      result.state = TaskState::queued;
    if (view.due && view.state == JobView::State::delayed) result.meta["notBefore"] = format_time(*view.due);
    if (!view.consumer.empty() && view.state == JobView::State::leased) result.meta["worker"] = view.consumer;
    return result;
  }

  /// The job's record as it is stored, with its version (0 = none).
  std::pair<std::optional<Result>, std::int64_t> record(const std::string& id) const {
    const auto entry = storage.results->get(result_key(id));
    if (!entry) return {};
    return {result_from_wire(entry->value), entry->version};
  }

  struct Look {
    std::optional<Result> result;
    std::int64_t version;  ///< of the record, 0 = none
    /// The record says that it has ended, the broker that it has not: either the acknowledgement is on its way (broker
    /// and result backend are two systems), or the id was enqueued again. No further write may come to tell.
    bool in_doubt;
  };

  Look look(const std::string& id) const {
    // The broker first: a job that it no longer holds has its record already, for the record is never written later
    // than the acknowledgement.
    const auto view = storage.broker->find(id);
    auto [result, version] = record(id);
    if (view && view->state != JobView::State::dead)
      return {unfinished(id, *view, result), version, result && is_final(result->state)};
    return {std::move(result), version, false};
  }
};

Stem::Stem(const Config& config) : connections_(new Connections{config, open_storage(config)}) {}
Stem::Stem(const Config& config, std::optional<PayloadSigner> signer)
    : connections_(new Connections{config, open_storage(config), std::move(signer), true}) {}
Stem::~Stem() = default;
Stem::Stem(Stem&&) noexcept = default;
Stem& Stem::operator=(Stem&&) noexcept = default;

std::string Stem::enqueue(const std::string& task, Json args, const EnqueueOptions& options) {
  return enqueue({Job{task, std::move(args), options}}).front();
}

std::vector<std::string> Stem::enqueue(const std::vector<Job>& jobs) {
  std::vector<Envelope> envelopes;
  std::vector<Connections::Posting> messages;
  std::vector<std::string> ids;
  envelopes.reserve(jobs.size());
  for (const auto& job : jobs) {
    auto posting = connections_->posting(job);
    ids.push_back(posting.envelope.id);
    if (posting.to.to_everyone)
      messages.push_back(std::move(posting));
    else
      envelopes.push_back(std::move(posting.envelope));
  }
  auto& broker = *connections_->storage.broker;
  if (!envelopes.empty() || messages.empty()) broker.publish(envelopes);
  for (const auto& message : messages) broker.broadcast(message.to.name, message.envelope, message.to.ttl);
  return ids;
}

std::optional<Result> Stem::result(const std::string& id) { return connections_->look(id).result; }

std::optional<Result> Stem::wait(const std::string& id, Duration timeout) {
  const auto& clock = Clock::system();
  const auto deadline = clock.steady() + std::min<Duration>(timeout, std::chrono::days{3650});
  for (Duration pause = std::chrono::milliseconds{20};; pause = std::min<Duration>(2 * pause, std::chrono::seconds{1})) {
    const auto look = connections_->look(id);
    const auto left = duration_cast<Duration>(deadline - clock.steady());
    if (!look.result || is_final(look.result->state) || left <= Duration::zero()) return look.result;
    connections_->storage.results->await(result_key(id), look.version, look.in_doubt ? std::min(pause, left) : left);
  }
}

}  // namespace stem
