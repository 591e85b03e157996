#include "service/metrics_exporter.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>

#include <stem/error.hpp>
#include <vector>

#include "core/descriptor.hpp"
#include "service/control_client.hpp"
#include "service/metrics_server.hpp"
#include "service/notify.hpp"
#include "service/prometheus_page.hpp"

namespace stem {
namespace {

MetricsServer* serving = nullptr;

void stop_serving(int) {
  serving->stop();
}

std::vector<Descriptor> handed_over() {
  std::vector<Descriptor> sockets;
  const int count = sd_listen_fds(1);
  for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + count; ++fd) {
    sockets.emplace_back(fd);
    if (sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) <= 0)
      throw Error(Exit::usage,
                  "descriptor " + std::to_string(fd) +
                      " of systemd is no listening stream socket; use ListenStream= and Accept=no");
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  }
  if (sockets.empty())
    throw Error(Exit::usage,
                "there is no socket to serve at: start this by a socket unit (stem-metrics@NODE.socket), or "
                "say --listen");
  return sockets;
}

}  // namespace

MetricSnapshot ask_metrics(const std::string& control_socket) {
  const auto answer = ask_worker(control_socket, "metrics", std::chrono::seconds{2});
  return metric_snapshot_from(answer.value("metrics", Json()));
}

int run_metrics_exporter(const MetricsExporterSettings& settings) {
  auto notify = Notify::from_environment();
  load_prometheus();
  const auto page = [&] {
    try {
      return prometheus_page(ask_metrics(settings.control_socket));
    } catch (const Error& error) {
      throw Error(error.code(), "node " + settings.node + ": " + error.what());
    }
  };
  std::optional<MetricsServer> server;
  if (settings.listen)
    server.emplace(*settings.listen, page);
  else
    server.emplace(handed_over(), page);
  serving = &*server;
  struct sigaction action {};
  action.sa_handler = stop_serving;
  for (const int number : {SIGTERM, SIGINT}) sigaction(number, &action, nullptr);
  if (settings.listen) {
    const auto& address = server->address();
    spdlog::info("metrics of node {} are served at {}", settings.node,
                 address.is_unix() ? address.text() : "http://" + address.text() + "/metrics");
  }
  notify.ready("metrics of node " + settings.node);
  server->serve(settings.idle);
  notify.stopping(std::chrono::seconds{1});
  for (const int number : {SIGTERM, SIGINT}) signal(number, SIG_IGN);
  serving = nullptr;
  return 0;
}

}  // namespace stem
