#include <doctest/doctest.h>

#include <set>
#include <string>
#include <thread>

#include "core/log_event.hpp"

using stem::LogEvent;

TEST_CASE("log_event: the innermost identity is in force, on its own thread, until its scope ends") {
  CHECK(LogEvent::current() == nullptr);
  {
    const LogEvent outer(LogEvent::broker_lost);
    CHECK(LogEvent::current() == LogEvent::broker_lost);
    {
      const LogEvent inner(nullptr);  // what is logged now means nothing in particular
      CHECK(LogEvent::current() == nullptr);
    }
    CHECK(LogEvent::current() == LogEvent::broker_lost);
    const char* elsewhere = LogEvent::broker_lost;
    std::thread([&] { elsewhere = LogEvent::current(); }).join();
    CHECK(elsewhere == nullptr);
  }
  CHECK(LogEvent::current() == nullptr);
}

TEST_CASE("log_event: no two events have one identity") {
  const std::set<std::string> all{LogEvent::refused_configuration, LogEvent::broker_lost,
                                  LogEvent::broker_back,           LogEvent::no_progress,
                                  LogEvent::never_ready,           LogEvent::refused_reload,
                                  LogEvent::jobs_left_behind};
  CHECK(all.size() == 7);
  for (const auto& identity : all) CHECK(identity.size() == 32);
}
