#pragma once

#include <functional>
#include <memory>
#include <stem/json.hpp>
#include <string>

struct sd_event;

namespace stem {

/// The path of a node's control socket: `RUNTIME_DIR/NODE.sock`; a node name of more than 80 characters is
/// cut and ends in a hash, for socket names are short.
std::string control_socket_path(const std::string& runtime_dir, const std::string& node);

/// Answers questions about this worker, one JSON line each way: docs/control-socket.md. Runs on the main loop
/// and never waits for a client: lines are at most 64 KiB, clients at most 64, each has 5 seconds a question.
class ControlSocket {
 public:
  /// Given a request's `request` word and the whole request; returns the answer's fields. An Error that it
  /// throws becomes the answer's `error`.
  using Answer = std::function<Json(const std::string& word, const Json& request)>;

  /// Listens at `path` (mode 0660). A socket file that nobody answers at is replaced. Throws Error: 75
  /// another worker answers there, 73 cannot be created, 77 something that is not a socket of ours is in the
  /// way.
  ControlSocket(sd_event* loop, std::string path, Answer answer);
  ~ControlSocket();
  ControlSocket(const ControlSocket&) = delete;
  ControlSocket& operator=(const ControlSocket&) = delete;

  const std::string& path() const;

 private:
  struct Server;
  std::unique_ptr<Server> server_;
};

}  // namespace stem
