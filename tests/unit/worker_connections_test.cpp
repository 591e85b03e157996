#include <doctest/doctest.h>
#include <sys/wait.h>

#include <atomic>
#include <stem/stem.hpp>
#include <thread>
#include <vector>

#include "child_process.hpp"
#include "core/id.hpp"
#include "temp_dir.hpp"

using namespace stem;
using namespace std::chrono_literals;

namespace {

/// Forks `children` times while three threads do `busy` over and over; whether each child ended well.
bool fork_while(const std::function<void()>& busy, int children, const std::function<void(int)>& in_child) {
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i)
    threads.emplace_back([&] {
      while (!stop) busy();
    });
  int good = 0;
  for (int i = 0; i < children; ++i) {
    ChildProcess child([&] {
      in_child(i);
      return 0;
    });
    if (child.wait() == 0) ++good;
    if (good <= i) break;
  }
  stop = true;
  for (auto& thread : threads) thread.join();
  return good == children;
}

}  // namespace

TEST_CASE("client: a process may fork while its threads make ids; its children make others") {
  CHECK(fork_while([] { (void)new_id(Clock::system().wall()); }, 100,
                   [](int) { (void)new_id(Clock::system().wall()); }));
}

TEST_CASE("client: a process may fork while its threads use a Stem, and its children use it") {
  const TempDir place;
  Config config;
  config.broker_url = "sqlite://" + place / "stem.db";
  Stem stem(config);
  CHECK(fork_while([&] { (void)stem.submit({}); }, 100, [&](int) { (void)stem.submit({}); }));
  CHECK(fork_while([&] { (void)stem.enqueue("parent"); }, 10,
                   [&](int i) {
                     for (int n = 0; n < 5; ++n)
                       stem.enqueue("child", {}, {.id = std::to_string(i) + "-" + std::to_string(n)});
                   }));
  for (int i = 0; i < 10; ++i)
    for (int n = 0; n < 5; ++n) CHECK(stem.result(std::to_string(i) + "-" + std::to_string(n)));
}
