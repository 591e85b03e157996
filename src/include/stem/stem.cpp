#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <new>
#include <stem/stem.hpp>

#include "worker/attempts.hpp"
#include "worker/connections.hpp"

namespace stem {
namespace {

/// For jobs that leave no record, as their worker's task says: then nothing tells.
constexpr Duration longest_sleep = std::chrono::seconds{5};

/// For who looks at whose process the connections are, and replaces them.
std::mutex replacing;

/// A child may inherit it locked, by a thread that it does not inherit.
void expect_forks() {
  static const int registered = pthread_atfork(nullptr, nullptr, [] { new (&replacing) std::mutex; });
  if (registered != 0) throw std::bad_alloc();
}

}  // namespace

Stem::Stem(const Config& config) : connections_(new Connections{config, open_storage(config)}) {
  expect_forks();
}
Stem::Stem(const Config& config, std::optional<PayloadSigner> signer)
    : connections_(new Connections{config, open_storage(config), std::move(signer), true}) {
  expect_forks();
}
Stem::~Stem() = default;
Stem::Stem(Stem&&) noexcept = default;
Stem& Stem::operator=(Stem&&) noexcept = default;

/// The connections of this process. Those that it has from its parent are left as they are: what is said on
/// them, if only goodbye, would be said in the middle of what the parent says.
Stem::Connections& Stem::here() {
  const std::lock_guard lock(replacing);
  if (const auto& former = *connections_; former.process != getpid()) {
    std::unique_ptr<Connections> own(
        new Connections{former.config, open_storage(former.config), former.signer, former.signer_made});
    own->unique_tasks = former.unique_tasks;
    (void)connections_.release();
    connections_ = std::move(own);
  }
  return *connections_;
}

std::string Stem::enqueue(const std::string& task, Json args, const EnqueueOptions& options) {
  return enqueue({Job{task, std::move(args), options}}).front();
}

std::vector<std::string> Stem::enqueue(const std::vector<Job>& jobs) {
  std::vector<std::string> ids;
  for (auto& one : submit(jobs)) ids.push_back(std::move(one.id));
  return ids;
}

std::vector<Enqueued> Stem::submit(const std::vector<Job>& jobs) {
  std::vector<Connections::Posting> postings;
  postings.reserve(jobs.size());
  for (const auto& job : jobs) postings.push_back(here().posting(job));
  std::vector<EnqueueSpan> spans;  // null where none is recorded
  spans.reserve(postings.size());
  for (auto& posting : postings) spans.push_back(std::move(posting.span));
  const auto tracer = here().teller();
  try {
    auto enqueued = here().submit(std::move(postings));
    for (std::size_t i = 0; i < spans.size(); ++i)
      end_enqueue(tracer.get(), std::move(spans[i]), {}, enqueued[i].duplicate ? &enqueued[i].id : nullptr);
    return enqueued;
  } catch (const std::exception& error) {
    for (auto& span : spans) end_enqueue(tracer.get(), std::move(span), error.what());
    throw;
  }
}

void Stem::know(const Registry& tasks) {
  for (const auto* task : tasks.all())
    if (task->options.unique_for)
      here().unique_tasks.insert_or_assign(
          task->name, Connections::Uniqueness{*task->options.unique_for, task->options.unique_until});
}

std::optional<Result> Stem::result(const std::string& id) {
  return here().look(id).result;
}

std::optional<Result> Stem::wait(const std::string& id, Duration timeout) {
  const auto& clock = Clock::system();
  const auto deadline = clock.steady() + std::min<Duration>(timeout, std::chrono::days{3650});
  for (Duration pause = std::chrono::milliseconds{20};;
       pause = std::min<Duration>(2 * pause, std::chrono::seconds{1})) {
    const auto look = here().look(id);
    const auto left = duration_cast<Duration>(deadline - clock.steady());
    if (!look.result || is_final(look.result->state) || left <= Duration::zero()) return look.result;
    here().storage.results->await(result_key(id), look.version,
                                  std::min(look.in_doubt ? pause : longest_sleep, left));
  }
}

}  // namespace stem
