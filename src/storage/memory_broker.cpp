#include "storage/memory_broker.hpp"

#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <stem/error.hpp>

#include "storage/memory_store.hpp"

namespace stem {

MemoryBroker::MemoryBroker(std::shared_ptr<MemorySpace> space, const Clock& clock)
    : space_(std::move(space)), clock_(clock), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!wake_) throw Error(Exit::try_again, std::string("cannot wait for a wake-up: ") + std::strerror(errno));
  const std::lock_guard lock(space_->mutex);
  space_->wake_fds.insert(wake_.get());
}

MemoryBroker::~MemoryBroker() {
  const std::lock_guard lock(space_->mutex);
  space_->wake_fds.erase(wake_.get());
}

Wake MemoryBroker::clear_wake() {
  std::uint64_t count = 0;
  (void)!::read(wake_.get(), &count, sizeof count);
  return {.jobs = true, .broadcasts = true};
}

bool MemoryBroker::keeps_records_of(const Store& store) const {
  const auto* const ours = dynamic_cast<const MemoryStore*>(&store);
  return ours != nullptr && ours->space() == space_.get();
}

void MemoryBroker::line_up(std::int64_t number, Job& job, WallTime due, WallTime now) {
  auto& queue = space_->queues[job.queue];
  job.since = std::max(due, now);
  job.lease.reset();
  if (due > now) {
    job.place = 0;
    queue.delayed.emplace(due, number);
  } else {
    job.place = space_->next();
    queue.lanes.at(static_cast<std::size_t>(job.priority)).emplace(job.place, number);
  }
}

void MemoryBroker::leave_line(std::int64_t number, const Job& job) {
  auto& queue = space_->queues.at(job.queue);
  queue.lanes.at(static_cast<std::size_t>(job.priority)).erase(job.place);
  queue.delayed.erase({job.since, number});
}

void MemoryBroker::forget(std::int64_t number) {
  const auto job = space_->jobs.find(number);
  space_->ids.erase(job->second.id);
  space_->jobs.erase(job);
}

std::size_t MemoryBroker::publish(std::span<const Envelope> jobs) {
  return *publish_guarded(jobs, {}, {});
}

std::optional<std::size_t> MemoryBroker::publish_guarded(std::span<const Envelope> jobs,
                                                         const std::vector<StoreGuard>& guards,
                                                         const std::vector<StoreWrite>& records) {
  std::vector<std::string> wires;
  for (const auto& envelope : jobs) {
    if (envelope.priority < 0 || envelope.priority > 9)
      throw Error(Exit::usage, "priority must be 0 to 9, not " + std::to_string(envelope.priority));
    wires.push_back(to_wire(envelope));
  }
  const std::lock_guard lock(space_->mutex);
  const auto now = clock_.wall();
  if (!space_->hold(guards, now)) return std::nullopt;
  for (const auto& record : records) space_->write(record, now);
  if (!records.empty()) space_->written.notify_all();
  std::size_t added = 0;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    if (const auto held = space_->ids.find(jobs[i].id);
        held != space_->ids.end() && space_->jobs.at(held->second).dead)
      forget(held->second);
    const auto number = space_->next();
    if (!space_->ids.emplace(jobs[i].id, number).second) continue;
    auto& job = space_->jobs[number];
    job.id = jobs[i].id;
    job.queue = jobs[i].queue;
    job.wire = std::move(wires[i]);
    job.priority = jobs[i].priority;
    job.attempt = jobs[i].attempt;
    job.asked_lease = jobs[i].visibility_timeout;
    line_up(number, job, jobs[i].not_before.value_or(now), now);
    ++added;
  }
  if (added > 0) space_->wake();
  return added;
}

MemoryBroker::Job* MemoryBroker::held(const Receipt& receipt) {
  const auto job = space_->jobs.find(receipt.job);
  if (job == space_->jobs.end() || !job->second.lease || job->second.lease->token != receipt.token)
    return nullptr;
  return &job->second;
}

bool MemoryBroker::settle(const Settlement& settlement, WallTime now) {
  const auto number = settlement.receipt.job;
  auto* const job = held(settlement.receipt);
  if (job == nullptr) return false;
  struct Way {
    MemoryBroker& broker;
    std::int64_t number;
    Job& job;
    WallTime now;
    void operator()(const Ack&) {
      broker.leave_line(number, job);
      broker.forget(number);
    }
    void operator()(const RetryAt& retry) {
      ++job.attempt;
      go_on(retry.due);
    }
    void operator()(const Release& release) {
      if (release.due > now) return go_on(release.due);
      job.deliveries = 0;
      job.lease.reset();
      broker.space_->wake();
    }
    void operator()(const DeadLetter& letter) {
      broker.leave_line(number, job);
      job.lease.reset();
      job.deliveries = 0;
      job.dead = {.reason = letter.reason, .meta = letter.meta, .at = now, .order = broker.space_->next()};
    }
    void go_on(WallTime due) {
      broker.leave_line(number, job);
      job.deliveries = 0;
      broker.line_up(number, job, due, now);
      broker.space_->wake();
    }
  };
  std::visit(Way{*this, number, *job, now}, settlement.disposition);
  return true;
}

Exchange MemoryBroker::exchange(std::span<const Settlement> settled, const Demand& demand) {
  const std::lock_guard lock(space_->mutex);
  const auto now = clock_.wall();
  Exchange result;
  bool written = false;
  for (const auto& settlement : settled) {
    if (!settle(settlement, now)) {
      result.lost.push_back(settlement.receipt);
    } else if (settlement.record) {
      space_->write(*settlement.record, now);
      written = true;
    }
  }
  if (written) space_->written.notify_all();
  if (demand.limit > 0) lease(demand, now, result.deliveries);
  return result;
}

void MemoryBroker::lease(const Demand& demand, WallTime now, std::vector<Delivery>& deliveries) {
  for (const auto& name : demand.queues) {
    const auto queue = space_->queues.find(name);
    if (queue == space_->queues.end()) continue;
    for (auto& delayed = queue->second.delayed; !delayed.empty() && delayed.begin()->first <= now;) {
      const auto [due, number] = *delayed.begin();
      delayed.erase(delayed.begin());
      auto& job = space_->jobs.at(number);
      line_up(number, job, due, now);
      job.since = due;
    }
  }
  const auto token = space_->next();
  for (std::size_t priority = 10; priority-- > 0;) {
    for (const auto& name : demand.queues) {
      const auto queue = space_->queues.find(name);
      if (queue == space_->queues.end()) continue;
      for (const auto& [place, number] : queue->second.lanes.at(priority)) {
        if (deliveries.size() >= demand.limit) return;
        auto& job = space_->jobs.at(number);
        if (job.lease && job.lease->until > now) continue;
        if (job.lease) ++job.deliveries;
        const auto length = std::max(demand.lease, job.asked_lease.value_or(Duration{}));
        job.lease = {.token = token, .until = now + length, .consumer = demand.consumer};
        deliveries.push_back({.receipt = {.job = number, .token = token},
                              .id = job.id,
                              .queue = job.queue,
                              .wire = job.wire,
                              .attempt = job.attempt,
                              .deliveries = job.deliveries + 1});
      }
    }
  }
}

std::vector<Receipt> MemoryBroker::renew(std::span<const Receipt> leases, Duration lease) {
  const std::lock_guard lock(space_->mutex);
  std::vector<Receipt> lost;
  const auto until = clock_.wall() + lease;
  for (const auto& receipt : leases) {
    if (auto* const job = held(receipt))
      job->lease->until = std::max(job->lease->until, until);
    else
      lost.push_back(receipt);
  }
  return lost;
}

std::optional<WallTime> MemoryBroker::next_due(const std::vector<std::string>& queues) {
  const std::lock_guard lock(space_->mutex);
  std::optional<WallTime> next;
  const auto sooner = [&](WallTime time) { next = std::min(next.value_or(time), time); };
  for (const auto& name : queues) {
    const auto queue = space_->queues.find(name);
    if (queue == space_->queues.end()) continue;
    if (!queue->second.delayed.empty()) sooner(queue->second.delayed.begin()->first);
    for (const auto& lane : queue->second.lanes)
      for (const auto& [place, number] : lane)
        if (const auto& job = space_->jobs.at(number); job.lease) sooner(job.lease->until);
  }
  return next;
}

void MemoryBroker::broadcast(const std::string& channel, const Envelope& message, Duration ttl) {
  auto wire = to_wire(message);
  const std::lock_guard lock(space_->mutex);
  const auto now = clock_.wall();
  for (auto& [name, said] : space_->channels)
    std::erase_if(said, [&](const auto& one) { return one.second.expires <= now; });
  std::erase_if(space_->channels, [](const auto& one) { return one.second.empty(); });
  space_->channels[channel].emplace(space_->next(), MemorySpace::Message{std::move(wire), now + ttl});
  space_->wake();
}

std::vector<Broadcast> MemoryBroker::listen(std::vector<Listening>& channels, std::size_t limit) {
  const std::lock_guard lock(space_->mutex);
  const auto now = clock_.wall();
  std::vector<Broadcast> heard;
  for (auto& [name, position] : channels) {
    std::int64_t last = space_->last;
    if (!position.empty()) {
      std::from_chars(position.data(), position.data() + position.size(), last);
      const auto channel = space_->channels.find(name);
      if (channel == space_->channels.end()) continue;
      std::size_t left = limit;
      for (auto said = channel->second.upper_bound(last); said != channel->second.end() && left > 0; ++said) {
        last = said->first;
        if (said->second.expires <= now) continue;
        heard.push_back({name, said->second.wire});
        --left;
      }
    }
    position = std::to_string(last);
  }
  return heard;
}

std::optional<JobView> MemoryBroker::find(const std::string& id) {
  const std::lock_guard lock(space_->mutex);
  const auto number = space_->ids.find(id);
  if (number == space_->ids.end()) return std::nullopt;
  const auto& job = space_->jobs.at(number->second);
  const auto now = clock_.wall();
  JobView view{.state = JobView::State::ready,
               .wire = job.wire,
               .attempt = job.attempt,
               .deliveries = job.deliveries + (job.lease ? 1 : 0),
               .due = std::nullopt,
               .consumer = {},
               .reason = {}};
  if (job.dead) {
    view.state = JobView::State::dead;
    view.reason = job.dead->reason;
  } else if (job.lease && job.lease->until > now) {
    view.state = JobView::State::leased;
    view.due = job.lease->until;
    view.consumer = job.lease->consumer;
  } else if (job.since > now) {
    view.state = JobView::State::delayed;
    view.due = job.since;
  }
  return view;
}

std::vector<QueueDepth> MemoryBroker::depths() {
  const std::lock_guard lock(space_->mutex);
  const auto now = clock_.wall();
  std::map<std::string, QueueDepth> depths;
  for (const auto& [number, job] : space_->jobs) {
    auto& depth = depths[job.queue];
    depth.queue = job.queue;
    if (job.dead) {
      ++depth.dead;
    } else if (job.lease && job.lease->until > now) {
      ++depth.leased;
    } else if (job.since > now) {
      ++depth.delayed;
    } else {
      ++depth.ready;
      depth.oldest_ready = std::min(depth.oldest_ready.value_or(job.since), job.since);
    }
  }
  std::vector<QueueDepth> sorted;
  for (auto& [name, depth] : depths) sorted.push_back(std::move(depth));
  return sorted;
}

std::vector<DeadJob> MemoryBroker::dead_letters(const std::string& queue, std::size_t limit) {
  const std::lock_guard lock(space_->mutex);
  std::vector<const Job*> dead;
  for (const auto& [number, job] : space_->jobs)
    if (job.dead && (queue.empty() || job.queue == queue)) dead.push_back(&job);
  std::sort(dead.begin(), dead.end(), [](const auto* a, const auto* b) {
    return std::pair(a->dead->at, a->dead->order) > std::pair(b->dead->at, b->dead->order);
  });
  if (dead.size() > limit) dead.resize(limit);
  std::vector<DeadJob> found;
  for (const auto* job : dead)
    found.push_back({.id = job->id,
                     .queue = job->queue,
                     .wire = job->wire,
                     .attempt = job->attempt,
                     .reason = job->dead->reason,
                     .meta = job->dead->meta,
                     .dead_at = job->dead->at});
  return found;
}

MemoryBroker::Job* MemoryBroker::dead(const std::string& id) {
  const auto number = space_->ids.find(id);
  if (number == space_->ids.end()) return nullptr;
  auto& job = space_->jobs.at(number->second);
  return job.dead ? &job : nullptr;
}

std::size_t MemoryBroker::replay(std::span<const std::string> ids) {
  const std::lock_guard lock(space_->mutex);
  const auto now = clock_.wall();
  std::size_t replayed = 0;
  for (const auto& id : ids) {
    auto* const job = dead(id);
    if (job == nullptr) continue;
    job->dead.reset();
    job->attempt = 0;
    line_up(space_->ids.at(id), *job, now, now);
    ++replayed;
  }
  if (replayed > 0) space_->wake();
  return replayed;
}

std::size_t MemoryBroker::purge(std::span<const std::string> ids) {
  const std::lock_guard lock(space_->mutex);
  std::size_t purged = 0;
  for (const auto& id : ids) {
    if (dead(id) == nullptr) continue;
    forget(space_->ids.at(id));
    ++purged;
  }
  return purged;
}

}  // namespace stem
