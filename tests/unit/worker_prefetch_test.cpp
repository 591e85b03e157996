#include "worker/prefetch.hpp"

#include <doctest/doctest.h>

#include <algorithm>

#include "worker/counters.hpp"
#include "worker/engine_options.hpp"

using namespace stem;
using namespace std::chrono_literals;

namespace {

/// How many jobs are held at once after a while, with a broker that takes `answer` for each exchange, and
/// handlers that together take `each` for a job, and work while half of the jobs are on their way.
std::size_t held_after_a_while(Duration answer, Duration each, int multiplier = 2) {
  EngineOptions options;
  options.concurrency = 8;
  options.prefetch_multiplier = multiplier;
  const Counters counters;
  Prefetch prefetch(options, counters);
  prefetch.calm();
  for (int i = 0; i < 200; ++i) {
    const auto ended = prefetch.now();
    const auto work = static_cast<std::int64_t>(ended) * each;
    prefetch.follow(ended, std::max<Duration>(answer + work / 2, work), answer);
  }
  return prefetch.now();
}

}  // namespace

TEST_CASE(
    "prefetch: quick handlers are given as many jobs as keep them busy, whatever a broker takes to answer") {
  const EngineOptions options;
  CHECK(held_after_a_while(100us, 5us) == options.most_ahead);
  CHECK(held_after_a_while(5ms, 5us) == options.most_ahead);
  CHECK(held_after_a_while(50ms, 5us) == options.most_ahead);
  CHECK(held_after_a_while(400ms, 5us) == options.most_ahead);
  // Half a millisecond a job: what lasts for 20 ms, and for an answer that takes twice as long.
  CHECK(held_after_a_while(1ms, 500us) >= 35);
  CHECK(held_after_a_while(1ms, 500us) <= 45);
  CHECK(held_after_a_while(40ms, 500us) >= 80);
  CHECK(held_after_a_while(40ms, 500us) <= 170);
}

TEST_CASE("prefetch: a worker whose handlers were all stuck takes jobs again once one comes back") {
  EngineOptions options;
  options.concurrency = 2;
  Counters counters;
  Prefetch prefetch(options, counters);
  prefetch.calm();
  counters.stuck = 2;
  prefetch.follow(2, 1s, 1ms);
  prefetch.calm();
  CHECK(prefetch.now() == 0);
  counters.stuck = 1;
  CHECK(prefetch.now() == 2);
}

TEST_CASE("prefetch: slow handlers are given what the multiplier says, whatever a broker takes to answer") {
  for (const Duration answer : {100us, 5000us, 50'000us}) {
    CHECK(held_after_a_while(answer, 100ms) == 16);
    CHECK(held_after_a_while(answer, 100ms, 1) == 8);
  }
}
