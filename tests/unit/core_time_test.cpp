#include <doctest/doctest.h>

#include <stem/error.hpp>
#include <stem/time.hpp>

using namespace stem;
using namespace std::chrono_literals;

TEST_CASE("durations: each unit and sums of them are read") {
  CHECK(parse_duration("250ms") == 250ms);
  CHECK(parse_duration("5s") == 5s);
  CHECK(parse_duration("2m") == 2min);
  CHECK(parse_duration("1h") == 1h);
  CHECK(parse_duration("1d") == 24h);
  CHECK(parse_duration("1m30s") == 90s);
  CHECK(parse_duration("0") == 0s);
  CHECK(parse_duration("0s") == 0s);
}

TEST_CASE("durations: what is not one is refused with the text and an example") {
  for (const char* bad :
       {"", "5", "s", "5 s", "-5s", "5x", "1.5s", "5S", "99999999999999999999s", "4000000d", "5sm", "1h1"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(parse_duration(bad), Error);
  }
  try {
    parse_duration("5");
    FAIL("a bare number was accepted");
  } catch (const Error& error) {
    CHECK(error.code() == Exit::usage);
    CHECK(std::string(error.what()) ==
          "'5' is not a duration: a unit is missing; write a number and a unit, such as 250ms, 5s, 2m, 1h or "
          "1m30s");
  }
}

TEST_CASE("durations: what is written is read back") {
  for (const Duration length :
       {Duration{0s}, Duration{250ms}, Duration{90s}, Duration{25h}, Duration{15us}, Duration{61s + 5ms}})
    CHECK(parse_duration(format_duration(length)) == length);
  CHECK(format_duration(90s) == "1m30s");
  CHECK(format_duration(-5s) == "-5s");
}

TEST_CASE("times: three fractional digits, six when the microseconds ask for them") {
  const auto second = parse_time("2025-01-02T03:04:05Z");
  CHECK(format_time(second) == "2025-01-02T03:04:05.000Z");
  CHECK(format_time(second + 678ms) == "2025-01-02T03:04:05.678Z");
  CHECK(format_time(second + 678901us) == "2025-01-02T03:04:05.678901Z");
}

TEST_CASE("times: any ISO 8601 date-time is read, with or without an offset") {
  const auto instant = parse_time("2025-01-02T03:04:05.5Z");
  CHECK(parse_time("2025-01-02T03:04:05.500Z") == instant);
  CHECK(parse_time("2025-01-02T03:04:05.500000000Z") == instant);
  CHECK(parse_time("2025-01-02T04:04:05.5+01:00") == instant);
  CHECK(parse_time("2025-01-01T22:04:05,5-0500") == instant);
  CHECK(parse_time("2025-01-02 03:04:05.5") == instant);
  CHECK(parse_time("2025-01-02") == parse_time("2025-01-02T00:00Z"));
}

TEST_CASE("times: every prefix of a time that is not itself one is refused") {
  const std::string whole = "2025-01-02T03:04:05.678+01:00";
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const auto part = whole.substr(0, length);
    CAPTURE(part);
    const bool complete =
        length == 10 || length == 16 || length == 19 || (length >= 21 && length <= 23) || length == 26;
    if (complete)
      CHECK_NOTHROW(parse_time(part));
    else
      CHECK_THROWS_AS(parse_time(part), Error);
  }
  for (const char* bad :
       {"2025-02-30T00:00:00Z", "2025-01-02T24:00:00Z", "2025-01-02T03:04:05Zx", "yesterday"})
    CHECK_THROWS_AS(parse_time(bad), Error);
}
