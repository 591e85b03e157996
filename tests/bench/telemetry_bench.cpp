// What a worker pays for telling a collector: no-op jobs drained from SQLite without one, and with one that
// is gone, that hangs, and that takes what it is told; taking turns in one run.
//
//     telemetry_bench [ROUNDS] [JOBS]      in the current directory, which should be on a real disk

#include <arpa/inet.h>
#include <malloc.h>
#include <sys/socket.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <thread>

#include "worker_figures.hpp"

using namespace stem;

namespace {

/// A collector that answers each request with 200 at once, or takes connections and says nothing.
class Listener {
 public:
  explicit Listener(bool answers) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (bind(fd_, reinterpret_cast<sockaddr*>(&address), size) != 0 || listen(fd_, 16) != 0)
      throw std::runtime_error("listen");
    getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    if (answers) std::thread([fd = fd_] { answer(fd); }).detach();
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/v1/traces"; }

 private:
  static void answer(int listener) {
    for (;;) {
      const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      std::string text;
      char block[65536];
      for (ssize_t count; (count = recv(fd, block, sizeof block, 0)) > 0;) {
        text.append(block, static_cast<std::size_t>(count));
        const auto end = text.find("\r\n\r\n");
        if (end == text.npos) continue;
        const auto length = text.find("Content-Length: ");
        const auto all = end + 4 + std::strtoul(text.c_str() + length + 16, nullptr, 10);
        if (text.size() < all) continue;
        text.erase(0, all);
        constexpr std::string_view ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        if (send(fd, ok.data(), ok.size(), MSG_NOSIGNAL) < 0) break;
      }
      close(fd);
    }
  }

  int fd_;
  int port_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  mallopt(M_ARENA_MAX, 2);  // as run_worker_service does
  const std::size_t rounds = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 7;
  const std::size_t count = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 60'000;
  const Listener hangs(false), takes(true);
  const std::vector<std::pair<std::string, std::string>> kinds{
      {"no collector", ""},
      {"a collector that is gone", "http://127.0.0.1:9/v1/traces"},
      {"one that hangs", hangs.url()},
      {"one that takes what it can", takes.url()}};
  std::map<std::string, std::vector<double>> rates, ratios;
  for (std::size_t round = 0; round < rounds; ++round) {
    const auto jobs = some_jobs(count);
    std::map<std::string, double> mine;
    for (std::size_t turn = 0; turn < kinds.size(); ++turn) {
      const auto& [name, url] = kinds[(turn + round) % kinds.size()];
      std::string place = "telemetry-bench-XXXXXX";
      if (mkdtemp(place.data()) == nullptr) throw std::runtime_error("mkdtemp");
      Config config;
      config.broker_url = "sqlite://" + std::filesystem::absolute(place).string() + "/stem.db";
      config.concurrency = worker_threads;
      config.telemetry.traces.url = url;
      {
        const auto storage = open_storage(config);
        rate_of(jobs, 500, [&](auto some) { storage.broker->publish(some); });
        const auto tracer =
            url.empty() ? nullptr : std::make_shared<Tracer>(config.telemetry, TelemetrySource{});
        mine[name] = drain_with_a_worker(config, count, EngineOptions{}.most_ahead, tracer);
        if (tracer) {
          const auto dropped = static_cast<double>(tracer->exporter().dropped().spans);
          print_figure("  " + name + ": share of the spans that were dropped",
                       dropped / (2.0 * static_cast<double>(count)), "");
        }
      }
      std::filesystem::remove_all(place);
    }
    for (const auto& [name, rate] : mine) {
      rates[name].push_back(rate);
      ratios[name].push_back(rate / mine["no collector"]);
    }
  }
  for (const auto& [name, url] : kinds)
    print_figure("sqlite: no-op jobs drained by a worker of 8 threads, " + name, median(rates[name]),
                 "jobs/s", median(ratios[name]));
}
