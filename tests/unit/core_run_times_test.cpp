#include <doctest/doctest.h>

#include "core/run_times.hpp"

using namespace stem;
using namespace std::chrono_literals;

TEST_CASE("run times: classes follow each other without a gap, and each length is in the one that holds it") {
  for (std::size_t number = 3; number < RunTimes::classes; ++number)
    CHECK(RunTimes::beginning(number) > RunTimes::beginning(number - 1));
  for (std::int64_t micros = 1; micros < std::int64_t{1} << 31; micros = micros * 5 / 4 + 1) {
    const auto number = RunTimes::class_of(Duration{micros});
    CAPTURE(micros);
    CHECK(RunTimes::beginning(number) <= static_cast<double>(micros));
    if (number + 1 < RunTimes::classes && number > 0)
      CHECK(static_cast<double>(micros) < RunTimes::beginning(number + 1));
  }
  CHECK(RunTimes::class_of(0us) == 0);
  CHECK(RunTimes::class_of(-5s) == 0);
  CHECK(RunTimes::class_of(Duration::max()) == RunTimes::classes - 1);
}

TEST_CASE("run times: quantiles are off by a fifth at the most") {
  RunTimes times;
  CHECK(!times.quantile(0.5));
  for (int i = 1; i <= 1000; ++i) times.add(i * 100us);
  CHECK(times.count() == 1000);
  for (const double q : {0.1, 0.25, 0.5, 0.9, 0.95, 0.99}) {
    CAPTURE(q);
    const auto exact = q * 100'000;
    CHECK(static_cast<double>(times.quantile(q)->count()) > exact * 0.8);
    CHECK(static_cast<double>(times.quantile(q)->count()) < exact * 1.2);
  }
  CHECK(*times.quantile(2) >= *times.quantile(1));
}

TEST_CASE("run times: what has come since a former state is the difference, and all of it after a restart") {
  RunTimes before;
  before.add(1ms);
  auto after = before;
  for (int i = 0; i < 9; ++i) after.add(1s);
  const auto rest = after.since(before);
  CHECK(rest.count() == 9);
  CHECK(*rest.quantile(0.01) > 500ms);
  CHECK(before.since(after).count() == 1);
  before.add(after);
  CHECK(before.count() == 11);
}

TEST_CASE("run times: they are read back from JSON, and what is none is left out") {
  RunTimes times;
  times.add(3ms);
  times.add(3ms);
  times.add(2h);
  const auto json = times.json();
  CHECK(json.size() == 2);
  const auto back = RunTimes::from(json);
  CHECK(back.count() == 3);
  CHECK(back.json() == json);
  for (const char* odd : {"null", "{}", "[1]", "[[1]]", "[[64,1]]", "[[-1,1]]", "[[1,-1]]",
                          "[[1,18446744073709551615]]", "[[\"a\",1]]", "[[1.5,2]]"})
    CHECK(RunTimes::from(Json::parse(odd)).count() == 0);
}
