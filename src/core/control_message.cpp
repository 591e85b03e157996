#include "core/control_message.hpp"

#include <algorithm>
#include <stem/error.hpp>

#include "core/id.hpp"
#include "core/name.hpp"

namespace stem {
namespace {

constexpr const char* request_name = "__stem.control__";
constexpr const char* reply_name = "__stem.control.reply__";

[[noreturn]] void refuse(const std::string& why) {
  throw Error(Exit::data, why);
}

std::string text_in(const Json& args, const char* key) {
  const auto found = args.find(key);
  if (found == args.end() || !found->is_string()) refuse(std::string("its ") + key + " is no text");
  return found->get<std::string>();
}

Json object_in(const Json& args, const char* key) {
  const auto found = args.find(key);
  if (found == args.end() || found->is_null()) return Json::object();
  if (!found->is_object()) refuse(std::string("its ") + key + " is no object");
  return *found;
}

Envelope message(const char* name, const char* header, const std::string& channel, WallTime now) {
  Envelope envelope;
  envelope.id = new_id(now);
  envelope.name = name;
  envelope.headers[header] = "1";
  envelope.enqueued_at = now;
  envelope.queue = channel;
  return envelope;
}

}  // namespace

std::string control_channel(const std::string& name_space) {
  return name_space + ".control.broadcast";
}
std::string control_channel(const std::string& name_space, const std::string& node) {
  return name_space + ".control.worker." + node;
}
std::string control_reply_channel(const std::string& name_space, const std::string& request) {
  return name_space + ".control.reply." + request;
}

bool ControlRequest::is_for(const std::string& node) const {
  return targets.empty() || std::find(targets.begin(), targets.end(), node) != targets.end();
}

Envelope to_envelope(const ControlRequest& request, const std::string& channel) {
  auto envelope = message(request_name, "stem-control", channel, request.issued);
  const auto life = duration_cast<std::chrono::milliseconds>(request.expires - request.issued);
  envelope.args = {{"requestId", request.id},
                   {"type", request.type},
                   {"targets", request.targets.empty() ? std::vector<std::string>{"*"} : request.targets},
                   {"payload", request.payload},
                   {"timeoutMs", life.count()}};
  envelope.meta["stem.expiresAt"] = format_time(request.expires);
  return envelope;
}

ControlRequest control_request_from(const Envelope& envelope) {
  if (envelope.name != request_name) refuse("it is no order to a worker");
  if (!envelope.args.is_object()) refuse("its arguments are no object");
  ControlRequest request;
  request.id = text_in(envelope.args, "requestId");
  if (!is_name(request.id)) refuse("its requestId is no name");
  request.type = text_in(envelope.args, "type");
  request.payload = object_in(envelope.args, "payload");
  const auto targets = envelope.args.find("targets");
  if (targets == envelope.args.end() || !targets->is_array() || targets->empty())
    refuse("its targets are no list of nodes");
  for (const auto& target : *targets) {
    if (!target.is_string()) refuse("its targets are no list of nodes");
    if (target == "*") {
      request.targets.clear();
      break;
    }
    request.targets.push_back(target.get<std::string>());
  }
  request.issued = envelope.enqueued_at;
  if (!envelope.meta.is_object()) refuse("its meta is no object");
  request.expires = parse_time(text_in(envelope.meta, "stem.expiresAt"));
  return request;
}

Envelope to_envelope(const ControlReply& reply, const std::string& channel, WallTime now) {
  auto envelope = message(reply_name, "stem-control-reply", channel, now);
  envelope.args = {{"requestId", reply.request},
                   {"workerId", reply.node},
                   {"host", reply.host},
                   {"status", reply.error.empty() ? "ok" : "error"},
                   {"payload", reply.payload}};
  if (!reply.error.empty()) envelope.args["error"] = {{"message", reply.error}};
  return envelope;
}

ControlReply control_reply_from(const Envelope& envelope) {
  if (envelope.name != reply_name || !envelope.args.is_object()) refuse("it is no answer of a worker");
  ControlReply reply;
  reply.request = text_in(envelope.args, "requestId");
  reply.node = text_in(envelope.args, "workerId");
  if (!is_name(reply.node)) refuse("its workerId is no name");
  if (const auto host = envelope.args.find("host"); host != envelope.args.end() && host->is_string())
    reply.host = host->get<std::string>();
  reply.payload = object_in(envelope.args, "payload");
  if (text_in(envelope.args, "status") != "ok") {
    const auto error = object_in(envelope.args, "error");
    reply.error = error.value("message", Json()).is_string() ? error.at("message").get<std::string>()
                                                             : "it gives no reason";
  }
  return reply;
}

}  // namespace stem
