#pragma once

#include <doctest/doctest.h>
#include <signal.h>

#include <atomic>
#include <future>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "child_process.hpp"
#include "error_of.hpp"
#include "storage_rig.hpp"

// What a server is put through that fails under those who use it; the same for each. A server has
// stop(signal) and start().

/// What came of it.
struct UnderLoad {
  std::set<std::string> published, recorded;
  std::map<std::string, int> runs;
  int lost = 0, failures = 0;  ///< leases lost; calls that failed, and were made again
};

/// A producer and three workers, while the server is stopped with each of `signals` and started again.
template <class Server>
UnderLoad restart_under_load(Server& server, const stem::Config& config, stem::Duration lease,
                             const std::vector<int>& signals) {
  using namespace stem;
  UnderLoad told;
  std::atomic<bool> stopped_enough{false}, all_published{false};
  std::atomic<int> failures{0}, lost{0}, batches{0};
  const auto retrying = [&](auto call) {
    for (;;) try {
        return call();
      } catch (const Error& error) {
        if (error.code() != Exit::unavailable && error.code() != Exit::try_again) throw;
        ++failures;
        usleep(5'000);
      }
  };
  std::thread producer([&] {
    const auto storage = open_storage(config);
    for (int batch = 0; !stopped_enough; ++batch) {
      std::vector<Envelope> jobs;
      for (int i = 0; i < 20; ++i) {
        Envelope job;
        job.id = std::to_string(batch) + "-" + std::to_string(i);
        job.name = "test.task";
        jobs.push_back(job);
        told.published.insert(job.id);
      }
      retrying([&] { storage.broker->publish(jobs); });
      ++batches;
      usleep(2'000);
    }
    all_published = true;
  });
  std::mutex mutex;
  std::vector<std::thread> workers;
  for (int w = 0; w < 3; ++w)
    workers.emplace_back([&] {
      const auto storage = open_storage(config);
      const Demand demand{.queues = {"default"}, .limit = 30, .lease = lease, .consumer = "w"};
      std::vector<Settlement> settlements;
      for (;;) {
        const auto next = retrying([&] { return storage.broker->exchange(settlements, demand); });
        lost += static_cast<int>(next.lost.size());
        settlements.clear();
        for (const auto& delivery : next.deliveries) {
          settlements.push_back({delivery.receipt, Ack{}, StoreWrite{"result:" + delivery.id, "done", {}}});
          const std::lock_guard lock(mutex);
          ++told.runs[delivery.id];
        }
        if (!settlements.empty()) continue;
        if (all_published && retrying([&] { return storage.broker->depths(); }).empty()) return;
        usleep(5'000);
      }
    });
  for (const int signal : signals) {
    usleep(150'000);
    // On a slow machine there would be no load to speak of.
    CHECK(eventually([&, before = batches.load()] { return batches > before + 2; }, 30'000));
    server.stop(signal);
    server.start();
  }
  stopped_enough = true;
  producer.join();
  for (auto& worker : workers) worker.join();
  for (const auto& entry : retrying([&] { return open_storage(config).results->list("result:", 100'000); }))
    told.recorded.insert(entry.key.substr(7));
  told.lost = lost;
  told.failures = failures;
  return told;
}

/// Looks at the broker's bell until `listening` says that the server has a listener again.
inline void hear_again(stem::Broker& broker, const std::function<bool()>& listening) {
  CHECK(eventually(
      [&] {
        if (readable(broker.wake_fd())) broker.clear_wake();
        try {
          return listening();
        } catch (const stem::Error&) {
          return false;  // it is not there yet
        }
      },
      30'000));
  broker.clear_wake();
}

/// Enqueues `a`; a server that is just there may not let everybody in at once.
inline void enqueue_again(StorageRig& rig) {
  CHECK(eventually([&] { return error_of([&] { rig.enqueue({"a"}); }).status == 0; }));
}

/// A worker and a client that wait, and a server that is killed and started again meanwhile.
template <class Server>
void wait_through_a_restart(Server& server, StorageRig& rig, const std::function<bool()>& listening) {
  using namespace stem;
  auto& broker = rig.broker();
  rig.enqueue({});
  (void)broker.wake_fd();
  auto waiting = std::async(std::launch::async, [&] {
    for (;;) try {
        return rig.store().await("result:a", 0, std::chrono::minutes{1});
      } catch (const Error&) {
        usleep(10'000);
      }
  });
  CHECK(broker.depths().empty());
  server.stop(SIGKILL);
  CHECK(readable(broker.wake_fd(), 5000));
  CHECK(eventually([&] {
    const auto told = broker.clear_wake();
    return told.jobs && told.broadcasts;
  }));
  CHECK(error_of([&] { broker.fetch(StorageRig::demand()); }).status == 69);
  server.start();
  // It claims to have heard something until it hears again.
  hear_again(broker, listening);
  CHECK_FALSE(readable(broker.wake_fd()));
  enqueue_again(rig);
  CHECK(readable(broker.wake_fd(), 5000));
  rig.settle(rig.fetch_one(), Ack{}, StoreWrite{"result:a", "done", {}});
  CHECK(waiting.get()->value == "done");
}

/// A worker that waits before the server is there.
template <class Server>
void wait_for_the_first_start(Server& server, StorageRig& rig, const std::function<bool()>& listening) {
  auto& broker = rig.broker();
  CHECK(readable(broker.wake_fd(), 5000));
  broker.clear_wake();
  CHECK(error_of([&] { broker.fetch(StorageRig::demand()); }).status == 69);
  server.start();
  hear_again(broker, listening);
  enqueue_again(rig);
  CHECK(readable(broker.wake_fd(), 5000));
}

/// A worker that is killed with a job in its hands.
inline void take_over_from_a_killed_worker(const stem::Config& config) {
  using namespace stem;
  const auto storage = open_storage(config);
  Envelope job;
  job.id = "a";
  job.name = "test.task";
  storage.broker->publish({&job, 1});
  const Demand demand{
      .queues = {"default"}, .limit = 1, .lease = std::chrono::milliseconds{300}, .consumer = "w"};
  ChildProcess worker([&] {
    const auto own = open_storage(config);
    if (own.broker->fetch(demand).size() != 1) return 1;
    raise(SIGKILL);
    return 2;
  });
  CHECK(worker.wait() == 128 + SIGKILL);
  const auto view = storage.broker->find("a");
  CHECK(view->consumer ==
        (view->state == JobView::State::leased ? "w" : ""));  // on a slow machine the lease may have ended
  std::vector<Delivery> taken;
  CHECK(eventually([&] { return !(taken = storage.broker->fetch(demand)).empty(); }));
  CHECK(taken.at(0).deliveries == 2);
}
