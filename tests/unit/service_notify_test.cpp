#include <doctest/doctest.h>

#include <ctime>

#include "notify_listener.hpp"
#include "service/notify.hpp"

using stem::Notify;

TEST_CASE("notify: the bytes on the socket") {
  NotifyListener manager;
  Notify notify(manager.address());
  REQUIRE(notify.listening());
  notify.ready("0/8 busy");
  CHECK(manager.next() == "READY=1\nSTATUS=0/8 busy");
  notify.ready();
  CHECK(manager.next() == "READY=1");
  notify.watchdog();
  CHECK(manager.next() == "WATCHDOG=1");
  notify.stopping(std::chrono::seconds(15), "draining");
  CHECK(manager.next() == "STOPPING=1\nEXTEND_TIMEOUT_USEC=15000000\nSTATUS=draining");
  notify.extend(std::chrono::seconds(15), "3 jobs left");
  CHECK(manager.next() == "EXTEND_TIMEOUT_USEC=15000000\nSTATUS=3 jobs left");
  notify.leaving(78, EINVAL, "bad\nfile\tname");
  CHECK(manager.next() == "EXIT_STATUS=78\nERRNO=22\nSTATUS=bad file name");
  notify.leaving(0, 0);
  CHECK(manager.next() == "EXIT_STATUS=0");
}

TEST_CASE("notify: a reload carries the monotonic clock of its start") {
  NotifyListener manager;
  Notify notify(manager.address());
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  notify.reloading();
  const auto message = manager.next();
  const std::string start = "RELOADING=1\nMONOTONIC_USEC=";
  REQUIRE(message.starts_with(start));
  const auto sent = std::stoll(message.substr(start.size()));
  const auto before = std::int64_t{now.tv_sec} * 1000000 + now.tv_nsec / 1000;
  CHECK(sent >= before);
  CHECK(sent < before + 10'000'000);
}

TEST_CASE("notify: a status is sent when it has changed, and at most once a second") {
  NotifyListener manager;
  Notify notify(manager.address());
  notify.ready("a");
  CHECK(manager.next() == "READY=1\nSTATUS=a");
  CHECK(notify.status("a").count() == 0);  // nothing new
  const auto wait = notify.status("b");
  CHECK(wait.count() > 0);  // too early
  CHECK(wait <= std::chrono::seconds(1));
  CHECK(manager.nothing());
  usleep(static_cast<useconds_t>(wait.count()));
  CHECK(notify.status("b").count() == 0);
  CHECK(manager.next() == "STATUS=b");
  CHECK(notify.status("b").count() == 0);
  CHECK(manager.nothing());
}

TEST_CASE("notify: nothing is sent where nobody listens") {
  for (const char* socket : {"", "relative", "/", "@"}) {
    Notify notify{std::string(socket)};
    CHECK_FALSE(notify.listening());
    notify.ready("x");
    CHECK(notify.status("y").count() == 0);
  }
  Notify gone("/nonexistent/notify");  // an address without a listener is no error either
  gone.ready("x");
  std::string overlong = "/";
  overlong.append(200, 'x');
  CHECK_FALSE(Notify(overlong).listening());
}

TEST_CASE("notify: abstract sockets, and an environment that children do not inherit") {
  NotifyListener manager("@stem-test-" + std::to_string(getpid()));
  setenv("NOTIFY_SOCKET", manager.address().c_str(), 1);
  setenv("WATCHDOG_USEC", "3000000", 1);
  setenv("WATCHDOG_PID", std::to_string(getpid()).c_str(), 1);
  auto notify = Notify::from_environment();
  CHECK(!getenv("NOTIFY_SOCKET"));
  CHECK(!getenv("WATCHDOG_USEC"));
  CHECK(!getenv("WATCHDOG_PID"));
  CHECK(notify.watchdog_limit() == stem::Duration(3000000));
  notify.watchdog();
  CHECK(manager.next() == "WATCHDOG=1");

  setenv("NOTIFY_SOCKET", manager.address().c_str(), 1);
  setenv("WATCHDOG_USEC", "3000000", 1);
  setenv("WATCHDOG_PID", "1", 1);  // meant for another process
  CHECK_FALSE(Notify::from_environment().watchdog_limit().has_value());
  CHECK_FALSE(Notify::from_environment().listening());
}
