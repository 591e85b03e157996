#include <doctest/doctest.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-event.h>

#include <functional>
#include <memory>
#include <stem/error.hpp>
#include <thread>

#include "child_process.hpp"
#include "core/descriptor.hpp"
#include "refusal.hpp"
#include "service/control_address.hpp"
#include "service/control_client.hpp"
#include "service/control_socket.hpp"
#include "temp_dir.hpp"

using stem::ask_worker;
using stem::ControlAddress;
using stem::ControlSocket;
using stem::Descriptor;
using stem::Error;
using stem::Exit;
using stem::Json;

namespace {

/// A process that serves a control socket and does nothing else.
class Server {
 public:
  explicit Server(const std::string& path) : path_(path), process_([&] { return serve(path); }) {
    REQUIRE(eventually([&] {
      try {
        return ask_worker(path, "hello")["hello"] == "world";
      } catch (const Error&) {
        return false;
      }
    }));
  }
  ChildProcess& process() { return process_; }
  const std::string& path() const { return path_; }

 private:
  static int serve(const std::string& path) {
    sd_event* loop = nullptr;
    sd_event_new(&loop);
    ControlSocket socket(loop, path, [](const std::string& word, const Json&) -> Json {
      if (word == "hello") return {{"hello", "world"}};
      if (word == "binary") return {{"text", "\xFF"}};
      if (word == "large") return {{"text", std::string(300'000, 'x')}};
      throw Error(Exit::usage, "unknown request");
    });
    return sd_event_loop(loop);
  }
  std::string path_;
  ChildProcess process_;
};

Descriptor connected(const std::string& path) {
  Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const ControlAddress address(path);
  REQUIRE(connect(socket.get(), address.get(), address.size()) == 0);
  const timeval limit{.tv_sec = 10, .tv_usec = 0};
  setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  return socket;
}

std::string reply(const Descriptor& socket, const std::string& text) {
  REQUIRE(send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()));
  std::string line;
  char c = 0;
  while (recv(socket.get(), &c, 1, 0) == 1 && c != '\n') line += c;
  return line;
}

const std::string hello = "{\"v\":1,\"request\":\"hello\"}\n";

}  // namespace

TEST_CASE("control_socket: a question, an answer, and another on the same connection") {
  const TempDir dir;
  Server server(dir / "a.sock");
  const auto socket = connected(server.path());
  CHECK(reply(socket, hello) == "{\"hello\":\"world\",\"v\":1}");
  CHECK(reply(socket, hello) == "{\"hello\":\"world\",\"v\":1}");
  CHECK(reply(socket, hello + hello) == "{\"hello\":\"world\",\"v\":1}");
  CHECK(reply(socket, hello) == "{\"hello\":\"world\",\"v\":1}");
  CHECK(Json::parse(reply(connected(server.path()), "{\"v\":1,\"request\":\"binary\"}\n"))["text"] ==
        "\xEF\xBF\xBD");
  struct stat status {};
  REQUIRE(stat(server.path().c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0660);
}

TEST_CASE("control_socket: what is no question is refused, and says why") {
  const TempDir dir;
  Server server(dir / "a.sock");
  const auto ask = [&](const std::string& line) {
    return Json::parse(reply(connected(server.path()), line + "\n"))["refused"].get<std::string>();
  };
  CHECK(contains(ask("hello"), "not a JSON object"));
  CHECK(contains(ask(""), "not a JSON object"));
  CHECK(contains(ask("[1]"), "not a JSON object"));
  CHECK(contains(ask("{\"v\":2,\"request\":\"hello\"}"), "unknown version"));
  CHECK(contains(ask("{\"request\":\"hello\"}"), "unknown version"));
  CHECK(contains(ask("{\"v\":1}"), "no `request`"));
  CHECK(contains(ask("{\"v\":1,\"request\":7}"), "no `request`"));
  CHECK(contains(ask("{\"v\":1,\"request\":\"dance\"}"), "unknown request"));
  const auto [code, message] = refusal([&] { ask_worker(server.path(), "dance"); });
  CHECK(code == Exit::usage);
  CHECK(contains(message, "unknown request"));
}

TEST_CASE("control_socket: hostile clients do not keep the worker from answering others") {
  const TempDir dir;
  Server server(dir / "a.sock");
  const auto answers = [&](std::chrono::seconds within = std::chrono::seconds(30)) {
    return ask_worker(server.path(), "hello", within)["hello"] == "world";
  };

  SUBCASE("half a line") {
    const auto socket = connected(server.path());
    REQUIRE(send(socket.get(), "{\"v\":", 5, 0) == 5);
    CHECK(answers(std::chrono::seconds(4)));  // while it is there
    char byte;
    CHECK(recv(socket.get(), &byte, 1, 0) == 0);  // shown the door after its five seconds
  }
  SUBCASE("a line of 10 MB") {
    const auto socket = connected(server.path());
    const std::string block(65536, 'x');
    std::size_t sent = 0;
    while (sent < 10'000'000) {
      const auto count = send(socket.get(), block.data(), block.size(), MSG_NOSIGNAL);
      if (count <= 0) break;
      sent += static_cast<std::size_t>(count);
    }
    CHECK(sent < 10'000'000);  // cut off long before
    CHECK(answers());
  }
  SUBCASE("a reader that does not read") {
    const auto socket = connected(server.path());
    fcntl(socket.get(), F_SETFL, O_NONBLOCK);
    const std::string large = "{\"v\":1,\"request\":\"large\"}\n";
    for (int i = 0; i < 100; ++i)
      if (send(socket.get(), large.data(), large.size(), MSG_NOSIGNAL) < 0) break;
    CHECK(answers());
  }
  SUBCASE("200 connections that say nothing") {
    std::vector<Descriptor> crowd;
    for (int i = 0; i < 200; ++i) {
      Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      const ControlAddress address(server.path());
      if (connect(socket.get(), address.get(), address.size()) != 0) usleep(20'000);
      crowd.push_back(std::move(socket));
    }
    CHECK(answers());
  }
  SUBCASE("200 that ask at once") {
    std::vector<std::thread> crowd;
    std::atomic<int> answered = 0;
    for (int i = 0; i < 200; ++i)
      crowd.emplace_back([&] {
        try {
          if (ask_worker(server.path(), "hello", std::chrono::seconds(30))["hello"] == "world") ++answered;
        } catch (const Error&) {
        }
      });
    for (auto& thread : crowd) thread.join();
    CHECK(answered == 200);
  }
  SUBCASE("one that hangs up in the middle of its answer") {
    for (int i = 0; i < 50; ++i) {
      const auto socket = connected(server.path());
      const std::string large = "{\"v\":1,\"request\":\"large\"}\n";
      REQUIRE(send(socket.get(), large.data(), large.size(), MSG_NOSIGNAL) > 0);
    }
    CHECK(answers());
  }
}

TEST_CASE("control_socket: a worker that is stopped is found out within the deadline") {
  const TempDir dir;
  Server server(dir / "a.sock");
  server.process().signal(SIGSTOP);
  const auto begun = std::chrono::steady_clock::now();
  const auto [code, message] =
      refusal([&] { ask_worker(server.path(), "hello", std::chrono::milliseconds(300)); });
  const auto took = std::chrono::steady_clock::now() - begun;
  CHECK(code == Exit::unhealthy);
  CHECK(contains(message, "did not answer within 300ms"));
  CHECK(took >= std::chrono::milliseconds(300));
  CHECK(took < std::chrono::seconds(2));
  // Even when its queue of connections is full.
  std::vector<Descriptor> crowd;
  for (int i = 0; i < 300; ++i) {
    Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const ControlAddress address(server.path());
    if (connect(socket.get(), address.get(), address.size()) != 0) break;
    crowd.push_back(std::move(socket));
  }
  CHECK(crowd.size() < 300);
  CHECK(refusal([&] { ask_worker(server.path(), "hello", std::chrono::milliseconds(100)); }).first ==
        Exit::unhealthy);
  crowd.clear();
  server.process().signal(SIGCONT);
  CHECK(ask_worker(server.path(), "hello", std::chrono::seconds(5))["hello"] == "world");
}

TEST_CASE("control_socket: nobody there, or something else") {
  const TempDir dir;
  auto [code, message] = refusal([&] { ask_worker(dir / "none.sock", "hello"); });
  CHECK(code == Exit::unavailable);
  CHECK(contains(message, dir / "none.sock"));
  {
    Server server(dir / "dead.sock");
    server.process().signal(SIGKILL);
    server.process().wait();
  }
  CHECK(refusal([&] { ask_worker(dir / "dead.sock", "hello"); }).first == Exit::unavailable);
  Server again(dir / "dead.sock");  // what the dead one left is replaced

  // Another program's socket.
  for (const std::string text : {"no json\n", "[]\n", "{}\n"}) {
    const auto path = dir / "other.sock";
    const Descriptor listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const ControlAddress address(path);
    REQUIRE(bind(listener.get(), address.get(), address.size()) == 0);
    REQUIRE(listen(listener.get(), 1) == 0);
    std::thread other([&] {
      const Descriptor client(accept(listener.get(), nullptr, nullptr));
      char block[256];
      if (recv(client.get(), block, sizeof block, 0) > 0)
        send(client.get(), text.data(), text.size(), MSG_NOSIGNAL);
    });
    CHECK(refusal([&] { ask_worker(path, "hello"); }).first == Exit::data);
    other.join();
    std::filesystem::remove(path);
  }
}

TEST_CASE("control_socket: a living worker's socket and foreign files are never replaced") {
  const TempDir dir;
  Server server(dir / "a.sock");
  const auto begin = [&](const std::string& path) {
    return refusal([&] {
      sd_event* loop = nullptr;
      sd_event_new(&loop);
      const std::unique_ptr<sd_event, sd_event* (*)(sd_event*)> owner(loop, sd_event_unref);
      ControlSocket second(loop, path, [](const std::string&, const Json&) { return Json::object(); });
    });
  };
  CHECK(begin(server.path()).first == Exit::try_again);
  CHECK(ask_worker(server.path(), "hello")["hello"] == "world");
  CHECK(begin(dir.file("document.sock", "text")).first == Exit::no_permission);
  CHECK(content_of(dir / "document.sock") == "text");
  CHECK(begin(dir / "no/such.sock").first == Exit::cannot_create);
  REQUIRE(symlink(server.path().c_str(), (dir / "link.sock").c_str()) == 0);
  CHECK(begin(dir / "link.sock").first == Exit::no_permission);
}

TEST_CASE("control_socket: long node names and long directories still have a socket") {
  CHECK(stem::control_socket_path("/run/stem", "web-1") == "/run/stem/web-1.sock");
  const std::string name(128, 'n');
  const auto path = stem::control_socket_path("/run/stem", name);
  CHECK(path != stem::control_socket_path("/run/stem", std::string(127, 'n')));
  CHECK(path.size() < 107);
  const TempDir dir;
  const auto deep = dir / (std::string(100, 'd') + "/" + std::string(100, 'e'));
  std::filesystem::create_directories(deep);
  Server server(stem::control_socket_path(deep, name));
  CHECK(ask_worker(server.path(), "hello")["hello"] == "world");
  CHECK(refusal([&] { ask_worker(dir / std::string(120, 'x'), "hello"); }).first == Exit::config);
  CHECK(refusal([&] { ask_worker(dir / (std::string(120, 'x') + "/a"), "hello"); }).first ==
        Exit::unavailable);
}
