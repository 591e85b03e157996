#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <stem/time.hpp>
#include <string>
#include <thread>
#include <vector>

#include "core/descriptor.hpp"
#include "core/listen_address.hpp"
#include "service/unix_listener.hpp"
#include "worker/signal_fd.hpp"

namespace stem {

/// The page of metrics over HTTP: GET and HEAD of /metrics, one request a connection. It is for scrapers, but
/// whoever can connect may send anything: heads are at most 8 KiB, clients at most `most_clients`, and each
/// has `patience` to ask and as long to read. When there are too many, the one that has been there for
/// longest goes.
class MetricsServer {
 public:
  /// Renders the page; an Error that it throws becomes 503 and its line. Called by the thread that serves.
  using Page = std::function<std::string()>;

  static constexpr std::size_t most_clients = 32;
  static constexpr Duration patience = std::chrono::seconds{5};

  /// Listens, but serves nobody yet. Throws Error: 69 the address is in use, or none of this machine; 77 we
  /// may not; 73 a socket file cannot be created, or its directory is missing.
  MetricsServer(const ListenAddress& address, Page page);
  /// Of sockets that listen already: systemd's.
  MetricsServer(std::vector<Descriptor> sockets, Page page);
  /// Ends the thread of start().
  ~MetricsServer();
  MetricsServer(const MetricsServer&) = delete;
  MetricsServer& operator=(const MetricsServer&) = delete;

  /// Where it can be reached; with port 0, the one that was free.
  const ListenAddress& address() const { return address_; }

  /// Serves on a thread of its own.
  void start();
  /// Serves on this thread until stop(), or until there was no client for `idle`.
  void serve(std::optional<Duration> idle);
  /// Thread-safe, and safe in a signal handler.
  void stop();

 private:
  struct Client;

  void listen_tcp();
  void accept_from(int listener);
  bool make_room();
  bool attend(Client& client, short events);
  void answer(Client& client);

  ListenAddress address_;
  const Page page_;
  std::optional<UnixListener> unix_;
  std::vector<Descriptor> sockets_;
  SignalFd stop_;
  std::atomic<bool> stopped_{false};
  std::vector<std::unique_ptr<Client>> clients_;  // in the order in which they came
  SteadyTime resting_until_{};
  std::thread thread_;
};

}  // namespace stem
