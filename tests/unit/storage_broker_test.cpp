#include <doctest/doctest.h>

#include "storage/broker.hpp"

TEST_CASE("broker: a lease that was taken over has another receipt") {
  CHECK(stem::Receipt{.job = 1, .token = 1} != stem::Receipt{.job = 1, .token = 2});
}
