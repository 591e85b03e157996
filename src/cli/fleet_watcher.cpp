#include "cli/fleet_watcher.hpp"

#include <algorithm>

namespace stem::cli {
namespace {

/// Workers are asked so often, each time for half as long again.
constexpr Duration ask_every = std::chrono::seconds{10};

std::string words_of(const QueueOrder& order, const std::string& name_space) {
  return order.queues.front() + (order.resume ? " is resumed" : " is paused; r resumes it") + " (namespace " +
         name_space + ")";
}

}  // namespace

FleetSample WatchedFleet::take() {
  const auto now = Clock::system().steady();
  if (now >= ask_again_) {
    ask_again_ = now + ask_every;
    const auto ms = [](Duration length) { return duration_cast<std::chrono::milliseconds>(length).count(); };
    try {
      fleet_->tell("watch", {{"everyMs", ms(interval_)}, {"forMs", ms(ask_every * 3 / 2)}}, nodes_,
                   ask_every);
      unasked_.clear();
    } catch (const Error& error) {
      unasked_ = error.what();  // what cannot be reached is told by the look itself
    }
  }
  return take_sample(*fleet_, nodes_);
}

FleetWatcher::FleetWatcher(std::shared_ptr<Fleet> fleet, std::vector<std::string> nodes, Duration interval)
    : state_(std::make_shared<State>()),
      thread_(watch, state_, WatchedFleet(std::move(fleet), std::move(nodes), interval), interval) {}

FleetWatcher::~FleetWatcher() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stopping = true;
    state_->changed.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

bool FleetWatcher::stop(Duration patience) {
  std::unique_lock lock(state_->mutex);
  state_->stopping = true;
  state_->changed.notify_all();
  const bool ended = state_->changed.wait_for(lock, patience, [&] { return state_->ended; });
  lock.unlock();
  if (!thread_.joinable()) return true;
  if (ended)
    thread_.join();
  else
    thread_.detach();
  return ended;
}

FleetWatcher::News FleetWatcher::take_news() {
  const std::lock_guard lock(state_->mutex);
  state_->news.clear();
  return std::exchange(state_->found, {});
}

void FleetWatcher::give(QueueOrder order) {
  const std::lock_guard lock(state_->mutex);
  state_->orders.push_back(std::move(order));
  state_->changed.notify_all();
}

void FleetWatcher::watch(const std::shared_ptr<State>& state, WatchedFleet look, Duration interval) {
  const auto tell = [&](auto change) {
    const std::lock_guard lock(state->mutex);
    change(state->found);
    state->news.set();
  };
  auto next = Clock::system().steady();
  while (true) {
    std::vector<QueueOrder> orders;
    {
      std::unique_lock lock(state->mutex);
      state->changed.wait_until(lock, next, [&] { return state->stopping || !state->orders.empty(); });
      if (state->stopping) {
        state->ended = true;
        state->changed.notify_all();
        return;
      }
      orders.swap(state->orders);
    }
    for (const auto& order : orders) {
      std::string said;
      try {
        remember(order, look.fleet());
        look.fleet().tell(order.type(), order.payload(look.fleet().name_space()), order.nodes,
                          std::chrono::seconds{15});
        said = words_of(order, look.fleet().name_space());
      } catch (const std::exception& error) {
        said = std::string(order.resume ? "not resumed: " : "not paused: ") + error.what();
      }
      tell([&](News& news) { news.said = said; });
    }
    try {
      auto sample = look.take();
      tell([&](News& news) {
        news.sample = std::move(sample);
        news.fault.clear();
        news.unasked = look.unasked();
      });
    } catch (const std::exception& error) {
      const auto* const known = dynamic_cast<const Error*>(&error);
      tell([&](News& news) {
        news.fault = error.what();
        news.code = known ? known->code() : Exit::software;
      });
    }
    next = Clock::system().steady() + interval;
  }
}

}  // namespace stem::cli
