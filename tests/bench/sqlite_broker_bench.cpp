// What the SQLite broker costs over the least that any queue on SQLite must do: both on the same disk, with
// the same settings, the same batches and the same durability, taking turns in one run. The bare loop keeps
// no ids, priorities, delays, leases of several workers, or results.
//
//     sqlite_broker_bench [ROUNDS] [JOBS]      in the current directory, which should be on a real disk

#include <stdlib.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <stdexcept>

#include "bare_queue.hpp"

using namespace stem;

namespace {

constexpr std::size_t batch_size = bare_batch;
constexpr std::size_t single_jobs = 1000;

double seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::size_t drain(Broker& broker, const std::string& result) {
  const Demand demand{.queues = {"default"}, .limit = batch_size, .consumer = "bench"};
  std::vector<Settlement> settlements;
  std::size_t done = 0;
  do {
    const auto next = broker.exchange(settlements, demand);
    done += settlements.size();
    settlements.clear();
    for (const auto& delivery : next.deliveries)
      settlements.push_back(
          {delivery.receipt, Ack{}, StoreWrite{"result:" + delivery.id, result, std::chrono::hours{24}}});
  } while (!settlements.empty());
  return done;
}

struct Series {
  std::vector<double> ours, ratios;
  void add(double our_rate, double bare_rate) {
    ours.push_back(our_rate);
    ratios.push_back(our_rate / bare_rate);
  }
};

/// Runs both, the one that goes first changing from round to round.
void in_turn(bool first, const std::function<void()>& one, const std::function<void()>& other) {
  first ? one() : other();
  first ? other() : one();
}

}  // namespace

int main(int argc, char** argv) {
  const std::size_t rounds = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 11;
  const std::size_t jobs = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 40'000;
  Series single, bulk, drained;
  for (std::size_t round = 0; round < rounds; ++round) {
    std::string directory = "sqlite-bench-XXXXXX";
    if (mkdtemp(directory.data()) == nullptr) throw std::runtime_error("mkdtemp");
    const auto here = std::filesystem::absolute(directory);
    {
      BareQueue bare(here / "bare.db");
      Config config;
      config.broker_url = "sqlite://" + (here / "ours.db").string();
      const auto storage = open_storage(config);
      auto& broker = *storage.broker;
      const bool first = round % 2 == 0;

      const auto envelopes = some_jobs(jobs);
      std::vector<std::string> wires;
      for (const auto& envelope : envelopes) wires.push_back(to_wire(envelope));
      const auto all = std::span(envelopes);
      const auto all_wires = std::span<const std::string>(wires);
      double ours = 0, theirs = 0;
      in_turn(
          first,
          [&] {
            ours = seconds([&] {
              for (std::size_t i = 0; i < single_jobs; ++i) broker.publish(all.subspan(i, 1));
            });
          },
          [&] {
            theirs = seconds([&] {
              for (std::size_t i = 0; i < single_jobs; ++i) bare.publish(all_wires.subspan(i, 1));
            });
          });
      single.add(single_jobs / ours, single_jobs / theirs);
      const auto in_batches = [&](auto rest, auto publish) {
        for (rest = rest.subspan(single_jobs); !rest.empty();
             rest = rest.subspan(std::min(batch_size, rest.size())))
          publish(rest.first(std::min(batch_size, rest.size())));
      };
      in_turn(
          first, [&] { ours = seconds([&] { in_batches(all, [&](auto part) { broker.publish(part); }); }); },
          [&] { theirs = seconds([&] { in_batches(all_wires, [&](auto part) { bare.publish(part); }); }); });
      const auto many = static_cast<double>(jobs - single_jobs);
      bulk.add(many / ours, many / theirs);

      const auto expect_all = [&](std::size_t done) {
        if (done != jobs)
          throw std::runtime_error("drained " + std::to_string(done) + " of " + std::to_string(jobs));
      };
      const std::string result(100, 'r');
      in_turn(
          first, [&] { ours = seconds([&] { expect_all(drain(broker, result)); }); },
          [&] { theirs = seconds([&] { expect_all(bare.drain()); }); });
      drained.add(static_cast<double>(jobs) / ours, static_cast<double>(jobs) / theirs);
    }
    std::filesystem::remove_all(here);
  }
  print_figure("sqlite: drain with results, storage alone", median(drained.ours), "jobs/s",
               median(drained.ratios), 0.75);
  print_figure("sqlite: publish in hundreds", median(bulk.ours), "jobs/s", median(bulk.ratios));
  print_figure("sqlite: publish one by one", median(single.ours), "jobs/s", median(single.ratios));
}
