#include <doctest/doctest.h>

#include <stem/error.hpp>

#include "core/control_message.hpp"
#include "core/revocation.hpp"
#include "core/stop_mode.hpp"
#include "error_of.hpp"

using namespace stem;
using namespace std::chrono_literals;

namespace {

const WallTime noon = parse_time("2025-01-02T12:00:00.000Z");

ControlRequest request() {
  return {.id = "r1",
          .type = "revoke",
          .targets = {"web-1", "web-2"},
          .payload = {{"a", 1}},
          .issued = noon,
          .expires = noon + 15s};
}

/// What is said of a request whose arguments were changed.
std::string fault(const std::function<void(Envelope&)>& change) {
  auto envelope = to_envelope(request(), "c");
  change(envelope);
  return error_of([&] { control_request_from(envelope); }).message;
}

}  // namespace

TEST_CASE("control: a request is read as it was written, in the documented shape") {
  const auto envelope = to_envelope(request(), control_channel("stem", "web-1"));
  CHECK(envelope.name == "__stem.control__");
  CHECK(envelope.queue == "stem.control.worker.web-1");
  CHECK(envelope.headers.at("stem-control") == "1");
  CHECK(envelope.args == Json{{"requestId", "r1"},
                              {"type", "revoke"},
                              {"targets", {"web-1", "web-2"}},
                              {"payload", {{"a", 1}}},
                              {"timeoutMs", 15000}});
  const auto read = control_request_from(envelope_from_wire(to_wire(envelope)));
  CHECK(read.id == "r1");
  CHECK(read.targets == std::vector<std::string>{"web-1", "web-2"});
  CHECK(read.payload == Json{{"a", 1}});
  CHECK(read.issued == noon);
  CHECK(read.expires == noon + 15s);
  CHECK(read.is_for("web-2"));
  CHECK_FALSE(read.is_for("web-3"));
  auto all = request();
  all.targets.clear();
  CHECK(control_request_from(to_envelope(all, "c")).is_for("anybody"));
}

TEST_CASE("control: what is no request is refused with the reason") {
  CHECK(fault([](Envelope& e) { e.name = "mail.send"; }) == "it is no order to a worker");
  CHECK(fault([](Envelope& e) { e.args = Json::array(); }) == "its arguments are no object");
  CHECK(fault([](Envelope& e) { e.args.erase("requestId"); }) == "its requestId is no text");
  CHECK(fault([](Envelope& e) { e.args["requestId"] = "../x"; }) == "its requestId is no name");
  CHECK(fault([](Envelope& e) { e.args["type"] = 1; }) == "its type is no text");
  CHECK(fault([](Envelope& e) { e.args["payload"] = "x"; }) == "its payload is no object");
  CHECK(fault([](Envelope& e) { e.args["targets"] = Json::array(); }) == "its targets are no list of nodes");
  CHECK(fault([](Envelope& e) { e.args["targets"] = {1}; }) == "its targets are no list of nodes");
  CHECK(fault([](Envelope& e) { e.meta = Json::object(); }) == "its stem.expiresAt is no text");
  CHECK(fault([](Envelope& e) { e.meta = 1; }) == "its meta is no object");
  CHECK_FALSE(fault([](Envelope& e) { e.meta["stem.expiresAt"] = "tomorrow"; }).empty());
}

TEST_CASE("control: a reply is read as it was written, and what is none is refused") {
  const auto done = to_envelope(
      ControlReply{.request = "r1", .node = "web-1", .host = "h", .payload = {{"x", 1}}}, "c", noon);
  CHECK(done.args.at("status") == "ok");
  auto read = control_reply_from(done);
  CHECK(read.node == "web-1");
  CHECK(read.host == "h");
  CHECK(read.payload == Json{{"x", 1}});
  CHECK(read.error.empty());
  auto failed = to_envelope(
      ControlReply{.request = "r1", .node = "web-1", .host = "h", .error = "no such queue"}, "c", noon);
  CHECK(failed.args.at("error") == Json{{"message", "no such queue"}});
  CHECK(control_reply_from(failed).error == "no such queue");
  failed.args["error"] = {{"message", 7}};
  CHECK(control_reply_from(failed).error == "it gives no reason");
  failed.args["workerId"] = "a b";
  CHECK(error_of([&] { control_reply_from(failed); }).message == "its workerId is no name");
  failed.name = "x";
  CHECK(error_of([&] { control_reply_from(failed); }).message == "it is no answer of a worker");
}

TEST_CASE("control: revocations and paused queues are read as they were written, and others are refused") {
  const Revocation all{.job = "j",
                       .terminate = true,
                       .reason = "wrong",
                       .requester = "ann@host",
                       .issued = noon,
                       .expires = noon + 1h};
  CHECK(revocation_from(to_json(all, "stem")) == all);
  const Revocation bare{.job = "j", .issued = noon};
  CHECK(revocation_from(to_json(bare, "stem")) == bare);
  CHECK(bare.holds(noon + 10000h));
  CHECK(all.holds(noon));
  CHECK_FALSE(all.holds(noon + 1h));
  const auto said = [&](const char* key, const Json& value) {
    auto json = to_json(all, "stem");
    json[key] = value;
    return error_of([&] { revocation_from(json); }).message;
  };
  CHECK(said("taskId", 1) == "its taskId is no text");
  CHECK(said("taskId", "") == "its taskId is no id of a job");
  CHECK(said("taskId", std::string(129, 'x')) == "its taskId is no id of a job");
  CHECK(said("terminate", "yes") == "its terminate is neither true nor false");
  CHECK(said("reason", Json::array()) == "its reason is no text");
  CHECK_FALSE(said("expiresAt", "soon").empty());
  CHECK(error_of([&] { revocation_from(Json::array()); }).message == "it is no object");

  const PausedQueue paused{.queue = "mail", .node = "web-1", .reason = "", .requester = "ann", .since = noon};
  CHECK(paused_queue_from(to_json(paused, "stem")) == paused);
  auto json = to_json(paused, "stem");
  json["queue"] = "../mail";
  CHECK(error_of([&] { paused_queue_from(json); }).message == "its queue is no name");
}

TEST_CASE("control: modes of a stop have words") {
  for (const auto mode : {StopMode::warm, StopMode::soft, StopMode::hard})
    CHECK(stop_mode_from(to_string(mode)) == mode);
  CHECK_FALSE(stop_mode_from("force"));
  CHECK_FALSE(stop_mode_from(""));
}
