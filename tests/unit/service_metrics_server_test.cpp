#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <stem/error.hpp>
#include <thread>

#include "core/histogram.hpp"
#include "error_of.hpp"
#include "service/control_address.hpp"
#include "service/http_request.hpp"
#include "service/metrics_server.hpp"
#include "service/prometheus_page.hpp"
#include "temp_dir.hpp"

using namespace stem;
using namespace std::chrono_literals;

namespace {

Descriptor connected(const ListenAddress& address) {
  Descriptor socket(::socket(address.is_unix() ? AF_UNIX
                             : address.is_v6   ? AF_INET6
                                               : AF_INET,
                             SOCK_STREAM | SOCK_CLOEXEC, 0));
  const timeval limit{.tv_sec = 20, .tv_usec = 0};
  setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (address.is_unix()) {
    const ControlAddress place(address.path);
    REQUIRE(connect(socket.get(), place.get(), place.size()) == 0);
  } else {
    sockaddr_in place{};
    place.sin_family = AF_INET;
    place.sin_port = htons(address.port);
    inet_pton(AF_INET, address.host.c_str(), &place.sin_addr);
    REQUIRE(connect(socket.get(), reinterpret_cast<sockaddr*>(&place), sizeof place) == 0);
  }
  return socket;
}

void say(const Descriptor& socket, std::string_view text) {
  while (!text.empty()) {
    const auto count = send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL);
    if (count <= 0) return;  // it has been sent away
    text.remove_prefix(static_cast<std::size_t>(count));
  }
}

/// All that comes until the server closes.
std::string rest(const Descriptor& socket) {
  std::string text;
  char block[4096];
  for (ssize_t count; (count = recv(socket.get(), block, sizeof block, 0)) > 0;)
    text.append(block, static_cast<std::size_t>(count));
  return text;
}

std::string reply(const ListenAddress& address, std::string_view request) {
  const auto socket = connected(address);
  say(socket, request);
  return rest(socket);
}

constexpr const char* get = "GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n";

/// A server on a port of its own.
struct Rig {
  MetricsServer server;
  explicit Rig(MetricsServer::Page page = [] { return std::string("stem_up 1\n"); })
      : server(ListenAddress::from("127.0.0.1:0"), std::move(page)) {
    server.start();
  }
  std::string ask(std::string_view request) const { return reply(server.address(), request); }
};

std::string body_of(const std::string& reply) {
  const auto end = reply.find("\r\n\r\n");
  return end == reply.npos ? "" : reply.substr(end + 4);
}

}  // namespace

TEST_CASE("metrics server: the page has the type and the length that a scraper expects") {
  const Rig rig;
  const auto reply = rig.ask(get);
  CHECK(reply.starts_with("HTTP/1.1 200 OK\r\n"));
  CHECK(reply.find("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n") != reply.npos);
  CHECK(reply.find("\r\nContent-Length: 10\r\n") != reply.npos);
  CHECK(reply.find("\r\nConnection: close\r\n") != reply.npos);
  CHECK(body_of(reply) == "stem_up 1\n");
  CHECK(body_of(rig.ask("GET /metrics?name=x HTTP/1.0\r\n\r\n")) == "stem_up 1\n");
  CHECK(body_of(rig.ask("GET /metrics HTTP/1.1\nHost: here\n\n")) == "stem_up 1\n");
  CHECK(body_of(rig.ask("GET http://here:9464/metrics HTTP/1.1\r\n\r\n")) == "stem_up 1\n");
  const auto head = rig.ask("HEAD /metrics HTTP/1.1\r\nHost: here\r\n\r\n");
  CHECK(head.starts_with("HTTP/1.1 200 OK\r\n"));
  CHECK(head.find("\r\nContent-Length: 10\r\n") != head.npos);
  CHECK(body_of(head).empty());
}

TEST_CASE("metrics server: what is no request for the page is refused by its kind") {
  const Rig rig;
  const auto status = [&](std::string_view request) { return rig.ask(request).substr(0, 12); };
  CHECK(status("GET / HTTP/1.1\r\n\r\n") == "HTTP/1.1 404");
  CHECK(status("GET /metrics/../etc/passwd HTTP/1.1\r\n\r\n") == "HTTP/1.1 404");
  CHECK(status("POST /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello") == "HTTP/1.1 405");
  CHECK(rig.ask("DELETE /metrics HTTP/1.1\r\n\r\n").find("\r\nAllow: GET, HEAD\r\n") != std::string::npos);
  CHECK(status("hello\r\n\r\n") == "HTTP/1.1 400");
  CHECK(status("GET /metrics HTTP/2.0\r\n\r\n") == "HTTP/1.1 400");
  CHECK(status("GET metrics HTTP/1.1\r\n\r\n") == "HTTP/1.1 400");
  CHECK(status("GET /met rics HTTP/1.1\r\n\r\n") == "HTTP/1.1 400");
  CHECK(status(std::string("GET /\0 HTTP/1.1\r\n\r\n", 19)) == "HTTP/1.1 400");
  CHECK(status("\x16\x03\x01\x02\x01\r\n\r\n") == "HTTP/1.1 400");
  CHECK(status("\r\n\r\n") == "HTTP/1.1 400");
  CHECK(status("GET /metrics HTTP/1.1\r\nX: " + std::string(HttpRequest::longest, 'x') + "\r\n\r\n") ==
        "HTTP/1.1 431");
  CHECK(status(std::string(100'000, 'x')) == "HTTP/1.1 431");
}

TEST_CASE("metrics server: a page that cannot be made is 503 with the reason, and the next may be fine") {
  std::atomic<int> asked{0};
  const Rig rig([&]() -> std::string {
    if (++asked == 1) throw Error(Exit::unavailable, "node web-1 is not running");
    return "fine\n";
  });
  const auto reply = rig.ask(get);
  CHECK(reply.starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
  CHECK(body_of(reply) == "node web-1 is not running\n");
  CHECK(body_of(rig.ask(get)) == "fine\n");
}

TEST_CASE(
    "metrics server: who asks by and by, or nothing at all, is sent away in time and keeps nobody waiting") {
  const Rig rig;
  const auto begun = std::chrono::steady_clock::now();
  const auto silent = connected(rig.server.address()), slow = connected(rig.server.address());
  std::jthread drips([&](const std::stop_token& stop) {
    say(slow, "GET /metrics HTTP/1.1\r\n");
    while (!stop.stop_requested()) {
      say(slow, "X: y\r\n");
      poll(nullptr, 0, 100);
    }
  });
  CHECK(body_of(rig.ask(get)) == "stem_up 1\n");
  CHECK(std::chrono::steady_clock::now() - begun < MetricsServer::patience);
  CHECK(rest(silent).empty());
  rest(slow);
  const auto took = std::chrono::steady_clock::now() - begun;
  CHECK(took >= MetricsServer::patience - 100ms);
  CHECK(took < MetricsServer::patience + 10s);
}

TEST_CASE("metrics server: a crowd that asks nothing does not shut out a scrape") {
  const Rig rig;
  std::vector<Descriptor> crowd;
  for (std::size_t i = 0; i < 3 * MetricsServer::most_clients; ++i)
    crowd.push_back(connected(rig.server.address()));
  const auto begun = std::chrono::steady_clock::now();
  CHECK(body_of(rig.ask(get)) == "stem_up 1\n");
  CHECK(std::chrono::steady_clock::now() - begun < MetricsServer::patience);
}

TEST_CASE("metrics server: many scrapes at once each have a whole page") {
  const std::string page(500'000, 'x');
  const Rig rig([&] { return page; });
  std::vector<std::thread> scrapers;
  std::atomic<int> whole{0};
  for (int i = 0; i < 16; ++i) scrapers.emplace_back([&] { whole += body_of(rig.ask(get)) == page; });
  for (auto& one : scrapers) one.join();
  CHECK(whole == 16);
}

TEST_CASE("metrics server: a reader who reads nothing does not hold the others up") {
  const std::string page(4'000'000, 'x');
  const Rig rig([&] { return page; });
  const auto lazy = connected(rig.server.address());
  say(lazy, get);
  CHECK(body_of(rig.ask(get)) == page);
}

TEST_CASE("metrics server: an address in use is told, with what to do") {
  const Rig rig;
  const auto failed = error_of([&] { MetricsServer(rig.server.address(), [] { return std::string(); }); });
  CHECK(failed.status == 69);
  CHECK(failed.is_one_line());
  CHECK(failed.says(rig.server.address().text()));
  CHECK(failed.says("unix:/run/stem/%n.metrics"));
  const auto strange =
      error_of([] { MetricsServer(ListenAddress::from("192.0.2.1:9464"), [] { return std::string(); }); });
  CHECK(strange.status == 69);
  CHECK(strange.says("ip address"));
}

TEST_CASE(
    "metrics server: a Unix socket is for the owner and the group, replaces a dead one, and goes in the "
    "end") {
  const TempDir directory;
  ListenAddress address;
  address.path = directory / "web-1.metrics";
  const auto page = [] { return std::string("stem_up 1\n"); };
  {
    // A socket that nobody listens at any more.
    const Descriptor dead(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const ControlAddress place(address.path);
    REQUIRE(bind(dead.get(), place.get(), place.size()) == 0);
  }
  {
    MetricsServer server(address, page);
    struct stat status {};
    REQUIRE(stat(address.path.c_str(), &status) == 0);
    CHECK((status.st_mode & 07777) == 0660);
    server.start();
    CHECK(body_of(reply(address, get)) == "stem_up 1\n");
    const auto second = error_of([&] { MetricsServer(address, page); });
    CHECK(second.status == 69);
    CHECK(second.says("another process answers there"));
    CHECK(body_of(reply(address, get)) == "stem_up 1\n");
  }
  CHECK(access(address.path.c_str(), F_OK) != 0);
  directory.file("web-1.metrics", "precious");
  const auto in_the_way = error_of([&] { MetricsServer(address, page); });
  CHECK(in_the_way.status == 77);
  CHECK(content_of(address.path) == "precious");
  address.path = directory / "missing/web-1.metrics";
  CHECK(error_of([&] { MetricsServer(address, page); }).status == 73);
}

TEST_CASE("metrics server: it ends when nobody has come for as long as it was told, and not before") {
  MetricsServer server(ListenAddress::from("127.0.0.1:0"), [] { return std::string("x"); });
  const auto begun = std::chrono::steady_clock::now();
  std::thread scraper([&] {
    poll(nullptr, 0, 300);
    CHECK(body_of(reply(server.address(), get)) == "x");
  });
  server.serve(500ms);
  CHECK(std::chrono::steady_clock::now() - begun >= 800ms);
  scraper.join();
}

TEST_CASE("metrics page: labels are escaped, and buckets added up, as Prometheus reads them") {
  MetricSnapshot snapshot;
  snapshot.counter("stem.tasks.started", "Attempts\nand \\ more.", {{"task", "a\"b\\c\nd"}, {"queue", "q"}},
                   3);
  snapshot.gauge("stem.queue.lag", "s", "Lag.", {{"queue", "q"}}, 0.25);
  Histogram histogram;
  histogram.add(3ms);
  histogram.add(30ms);
  histogram.add(1h);
  snapshot.family("stem.task.duration", MetricFamily::Type::histogram, "s", "Time.")
      .points.push_back({{{"task", "t"}}, 0, histogram.spread()});
  const auto page = prometheus_page(snapshot);
  CAPTURE(page);
  const auto has = [&](const std::string& line) {
    return ("\n" + page).find("\n" + line + "\n") != std::string::npos;
  };
  CHECK(has("# TYPE stem_tasks_started_total counter"));
  CHECK(has(R"(stem_tasks_started_total{task="a\"b\\c\nd",queue="q"} 3)"));
  CHECK(has("# TYPE stem_queue_lag_seconds gauge"));
  CHECK(has(R"(stem_queue_lag_seconds{queue="q"} 0.25)"));
  CHECK(has("# TYPE stem_task_duration_seconds histogram"));
  CHECK(has(R"(stem_task_duration_seconds_bucket{task="t",le="0.005"} 1)"));
  CHECK(has(R"(stem_task_duration_seconds_bucket{task="t",le="0.05"} 2)"));
  CHECK(has(R"(stem_task_duration_seconds_bucket{task="t",le="1800"} 2)"));
  CHECK(has(R"(stem_task_duration_seconds_bucket{task="t",le="+Inf"} 3)"));
  CHECK(has(R"(stem_task_duration_seconds_count{task="t"} 3)"));
}
