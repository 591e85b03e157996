#include <algorithm>
#include <stem/stem.hpp>

#include "worker/attempts.hpp"
#include "worker/connections.hpp"

namespace stem {
namespace {

/// For jobs that leave no record, as their worker's task says: then nothing tells.
constexpr Duration longest_sleep = std::chrono::seconds{5};

}  // namespace

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
  std::vector<std::string> ids;
  for (auto& one : submit(jobs)) ids.push_back(std::move(one.id));
  return ids;
}

std::vector<Enqueued> Stem::submit(const std::vector<Job>& jobs) {
  std::vector<Connections::Posting> postings;
  postings.reserve(jobs.size());
  for (const auto& job : jobs) postings.push_back(connections_->posting(job));
  return connections_->submit(std::move(postings));
}

void Stem::know(const Registry& tasks) {
  for (const auto* task : tasks.all())
    if (task->options.unique_for)
      connections_->unique_tasks.insert_or_assign(
          task->name, Connections::Uniqueness{*task->options.unique_for, task->options.unique_until});
}

std::optional<Result> Stem::result(const std::string& id) {
  return connections_->look(id).result;
}

std::optional<Result> Stem::wait(const std::string& id, Duration timeout) {
  const auto& clock = Clock::system();
  const auto deadline = clock.steady() + std::min<Duration>(timeout, std::chrono::days{3650});
  for (Duration pause = std::chrono::milliseconds{20};;
       pause = std::min<Duration>(2 * pause, std::chrono::seconds{1})) {
    const auto look = connections_->look(id);
    const auto left = duration_cast<Duration>(deadline - clock.steady());
    if (!look.result || is_final(look.result->state) || left <= Duration::zero()) return look.result;
    connections_->storage.results->await(result_key(id), look.version,
                                         std::min(look.in_doubt ? pause : longest_sleep, left));
  }
}

}  // namespace stem
