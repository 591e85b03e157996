#pragma once

#include <arpa/inet.h>
#include <doctest/doctest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cctype>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <stem/json.hpp>
#include <stem/time.hpp>
#include <string>
#include <thread>
#include <vector>

#include "core/descriptor.hpp"

/// A collector for OTLP/HTTP on a port of its own: keeps what arrives, and misbehaves as a test wants. Its
/// JSON is checked strictly.
class Collector {
 public:
  struct Request {
    std::string path;
    std::map<std::string, std::string> headers;  ///< names in lower case
    std::string body;
  };
  /// What it does with a request. `send` returns false once the other side is gone.
  struct Reply {
    int status = 200;
    std::string headers{}, body = "{}";
    bool hang = false;         ///< reads it, and never answers
    bool cut = false;          ///< closes in the middle of its answer
    bool endless = false;      ///< its answer goes on and on
    bool close_early = false;  ///< closes before it has read all
  };

  Collector() { listen(0); }
  ~Collector() { stop(); }

  int port() const { return port_; }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }

  /// What is answered from now on; called for each request.
  void reply_with(std::function<Reply(const Request&)> reply) {
    const std::lock_guard lock(mutex_);
    reply_ = std::move(reply);
  }
  void reply_with(Reply reply) {
    reply_with([reply](const Request&) { return reply; });
  }

  std::vector<Request> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }
  std::size_t count() const {
    const std::lock_guard lock(mutex_);
    return requests_.size();
  }
  /// Whether so many requests have come within a time that no test uses up where all is well.
  bool await(std::size_t count, stem::Duration limit = std::chrono::seconds{30}) const {
    std::unique_lock lock(mutex_);
    return came_.wait_for(lock, limit, [&] { return requests_.size() >= count; });
  }
  /// All spans that were accepted, with the resource's attributes under "resource".
  std::vector<stem::Json> spans() const {
    std::vector<stem::Json> all;
    const std::lock_guard lock(mutex_);
    for (const auto& body : accepted_)
      for (const auto& resource : body.value("resourceSpans", stem::Json::array()))
        for (const auto& scope : resource["scopeSpans"])
          for (auto span : scope["spans"]) {
            span["resource"] = attributes(resource["resource"]);
            all.push_back(std::move(span));
          }
    return all;
  }
  bool await_spans(std::size_t count, stem::Duration limit = std::chrono::seconds{30}) const {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (spans().size() < count) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      poll(nullptr, 0, 5);
    }
    return true;
  }
  /// `{"key": value}` of an object with `attributes`.
  static stem::Json attributes(const stem::Json& of) {
    auto all = stem::Json::object();
    for (const auto& one : of.at("attributes")) {
      const auto& value = one.at("value");
      REQUIRE(value.size() == 1);
      all[one.at("key").get<std::string>()] = value.begin().value();
    }
    return all;
  }

  void stop() {
    stopping_ = true;
    if (listener_) ::shutdown(listener_.get(), SHUT_RDWR);
    if (acceptor_.joinable()) acceptor_.join();
    listener_.reset();
    std::vector<std::thread> threads;
    {
      const std::lock_guard lock(mutex_);
      for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
      threads.swap(threads_);
    }
    for (auto& thread : threads) thread.join();
    stopping_ = false;
  }
  /// Again, on the same port.
  void start() { listen(port_); }

 private:
  void listen(int port) {
    listener_.reset(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int yes = 1;
    setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(::listen(listener_.get(), 64) == 0);
    socklen_t size = sizeof address;
    getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] {
      for (;;) {
        const int fd = accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
        if (fd < 0) return;
        const std::lock_guard lock(mutex_);
        open_.insert(fd);
        threads_.emplace_back([this, fd] { serve(fd); });
      }
    });
  }

  void serve(int fd) {
    std::string buffer;
    while (!stopping_ && one(fd, buffer)) {
    }
    const std::lock_guard lock(mutex_);
    open_.erase(fd);
    close(fd);
  }

  static bool more(int fd, std::string& buffer) {
    char block[65536];
    const auto count = recv(fd, block, sizeof block, 0);
    if (count <= 0) return false;
    buffer.append(block, static_cast<std::size_t>(count));
    return true;
  }
  static bool send_all(int fd, std::string_view text) {
    while (!text.empty()) {
      const auto count = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
      if (count <= 0) return false;
      text.remove_prefix(static_cast<std::size_t>(count));
    }
    return true;
  }

  bool one(int fd, std::string& buffer) {
    std::size_t end;
    while ((end = buffer.find("\r\n\r\n")) == std::string::npos)
      if (!more(fd, buffer)) return false;
    Request request;
    std::size_t length = 0;
    std::string head = buffer.substr(0, end);
    request.path = head.substr(head.find(' ') + 1);
    request.path.resize(request.path.find(' '));
    for (std::size_t at = head.find("\r\n"); at != std::string::npos;) {
      const auto next = head.find("\r\n", at + 2);
      const auto line = head.substr(at + 2, next == std::string::npos ? next : next - at - 2);
      auto name = line.substr(0, line.find(':'));
      for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      auto value = line.substr(std::min(line.size(), name.size() + 1));
      value.erase(0, value.find_first_not_of(' '));
      if (name == "content-length") length = std::stoul(value);
      request.headers[name] = value;
      at = next;
    }
    std::function<Reply(const Request&)> answer;
    {
      const std::lock_guard lock(mutex_);
      answer = reply_;
    }
    Reply reply = answer(request);
    if (reply.close_early) return note(request), false;
    while (buffer.size() < end + 4 + length)
      if (!more(fd, buffer)) return false;
    request.body = buffer.substr(end + 4, length);
    buffer.erase(0, end + 4 + length);
    if (reply.status == 200 && !reply.hang && !reply.cut && !reply.endless &&
        !request.headers.contains("content-encoding")) {
      const std::lock_guard lock(mutex_);
      accepted_.push_back(stem::Json::parse(request.body));
    }
    note(request);
    std::string head_text = "HTTP/1.1 " + std::to_string(reply.status) +
                            " x\r\nContent-Type: application/json\r\n" + reply.headers;
    if (reply.hang) {
      char byte;
      while (!stopping_ && recv(fd, &byte, 1, 0) > 0) {
      }
      return false;
    }
    if (reply.endless) {
      if (!send_all(fd, head_text + "\r\n")) return false;
      while (!stopping_ && send_all(fd, std::string(4096, ' '))) {
      }
      return false;
    }
    head_text += "Content-Length: " + std::to_string(reply.body.size() + (reply.cut ? 100 : 0)) + "\r\n\r\n";
    return send_all(fd, head_text + reply.body) && !reply.cut;
  }

  void note(const Request& request) {
    const std::lock_guard lock(mutex_);
    requests_.push_back(request);
    came_.notify_all();
  }

  int port_ = 0;
  stem::Descriptor listener_;
  std::thread acceptor_;
  std::atomic<bool> stopping_{false};
  mutable std::mutex mutex_;
  mutable std::condition_variable came_;
  std::function<Reply(const Request&)> reply_ = [](const Request&) { return Reply{}; };
  std::vector<Request> requests_;
  std::vector<stem::Json> accepted_;
  std::set<int> open_;
  std::vector<std::thread> threads_;
};

/// What is wrong with an ExportTraceServiceRequest by the rules of OTLP's JSON encoding; empty if nothing is.
inline std::string fault_of_traces(const stem::Json& body) {
  const auto hex = [](const stem::Json& value, std::size_t size) {
    if (!value.is_string()) return false;
    const auto& text = value.get_ref<const std::string&>();
    return text.size() == size && text.find_first_not_of("0123456789abcdef") == text.npos &&
           text.find_first_not_of('0') != text.npos;
  };
  const auto whole = [](const stem::Json& value) {
    if (!value.is_string()) return false;
    const auto& text = value.get_ref<const std::string&>();
    return !text.empty() && text.find_first_not_of("0123456789") == text.npos;
  };
  const auto keys = [](const stem::Json& object, const std::set<std::string>& needed,
                       const std::set<std::string>& allowed) {
    if (!object.is_object()) return false;
    for (const auto& key : needed)
      if (!object.contains(key)) return false;
    for (const auto& [key, value] : object.items())
      if (!needed.contains(key) && !allowed.contains(key)) return false;
    return true;
  };
  const auto attributes = [&](const stem::Json& list) {
    if (!list.is_array()) return false;
    std::set<std::string> seen;
    for (const auto& one : list) {
      if (!keys(one, {"key", "value"}, {}) || !one["key"].is_string() || !seen.insert(one["key"]).second)
        return false;
      const auto& value = one["value"];
      if (!value.is_object() || value.size() != 1) return false;
      const auto kind = value.begin().key();
      const auto& held = value.begin().value();
      if (!(kind == "stringValue" && held.is_string()) && !(kind == "boolValue" && held.is_boolean()) &&
          !(kind == "doubleValue" && held.is_number()) && !(kind == "intValue" && held.is_string()))
        return false;
    }
    return true;
  };
  if (!keys(body, {"resourceSpans"}, {})) return "the request";
  for (const auto& resource : body["resourceSpans"]) {
    if (!keys(resource, {"resource", "scopeSpans"}, {})) return "a resource's spans";
    if (!keys(resource["resource"], {"attributes"}, {}) || !attributes(resource["resource"]["attributes"]))
      return "the resource";
    for (const auto& scope : resource["scopeSpans"]) {
      if (!keys(scope, {"scope", "spans"}, {}) || !keys(scope["scope"], {"name", "version"}, {}))
        return "the scope";
      for (const auto& span : scope["spans"]) {
        if (!keys(span,
                  {"traceId", "spanId", "flags", "name", "kind", "startTimeUnixNano", "endTimeUnixNano",
                   "attributes"},
                  {"parentSpanId", "traceState", "status"}))
          return "the keys of " + span.dump();
        if (!hex(span["traceId"], 32) || !hex(span["spanId"], 16)) return "the ids of " + span.dump();
        if (span.contains("parentSpanId") && !hex(span["parentSpanId"], 16))
          return "the parent of " + span.dump();
        if (!span["kind"].is_number_integer() || !span["flags"].is_number_unsigned() ||
            !span["name"].is_string())
          return "the kind of " + span.dump();
        if (!whole(span["startTimeUnixNano"]) || !whole(span["endTimeUnixNano"]))
          return "the times of " + span.dump();
        if (std::stoull(span["startTimeUnixNano"].get<std::string>()) >
            std::stoull(span["endTimeUnixNano"].get<std::string>()))
          return "it ends before it begins: " + span.dump();
        if (!attributes(span["attributes"])) return "the attributes of " + span.dump();
        if (span.contains("status") &&
            (!keys(span["status"], {"code", "message"}, {}) || span["status"]["code"] != 2))
          return "the status of " + span.dump();
      }
    }
  }
  return {};
}
