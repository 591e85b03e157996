#include "core/revocation.hpp"

#include <stem/error.hpp>

#include "core/name.hpp"

namespace stem {
namespace {

std::string text(const Json& json, const char* key, bool needed = false) {
  const auto found = json.find(key);
  if (found != json.end() && found->is_string()) return found->get<std::string>();
  if (needed || (found != json.end() && !found->is_null()))
    throw Error(Exit::data, std::string("its ") + key + " is no text");
  return {};
}

void require_object(const Json& json) {
  if (!json.is_object()) throw Error(Exit::data, "it is no object");
}

}  // namespace

Json to_json(const Revocation& revocation, const std::string& name_space) {
  return {{"namespace", name_space},
          {"taskId", revocation.job},
          {"version", revocation.issued.time_since_epoch().count()},
          {"issuedAt", format_time(revocation.issued)},
          {"terminate", revocation.terminate},
          {"reason", revocation.reason.empty() ? Json() : Json(revocation.reason)},
          {"requestedBy", revocation.requester.empty() ? Json() : Json(revocation.requester)},
          {"expiresAt", revocation.expires ? Json(format_time(*revocation.expires)) : Json()}};
}

Revocation revocation_from(const Json& json) {
  require_object(json);
  Revocation revocation;
  revocation.job = text(json, "taskId", true);
  if (revocation.job.empty() || revocation.job.size() > 128)
    throw Error(Exit::data, "its taskId is no id of a job");
  const auto terminate = json.find("terminate");
  if (terminate != json.end() && !terminate->is_boolean())
    throw Error(Exit::data, "its terminate is neither true nor false");
  revocation.terminate = terminate != json.end() && terminate->get<bool>();
  revocation.reason = text(json, "reason");
  revocation.requester = text(json, "requestedBy");
  revocation.issued = parse_time(text(json, "issuedAt", true));
  if (const auto expires = text(json, "expiresAt"); !expires.empty())
    revocation.expires = parse_time(expires);
  return revocation;
}

Json to_json(const PausedQueue& paused, const std::string& name_space) {
  return {{"namespace", name_space},
          {"queue", paused.queue},
          {"workerId", paused.node.empty() ? Json() : Json(paused.node)},
          {"pausedAt", format_time(paused.since)},
          {"reason", paused.reason.empty() ? Json() : Json(paused.reason)},
          {"requestedBy", paused.requester.empty() ? Json() : Json(paused.requester)}};
}

PausedQueue paused_queue_from(const Json& json) {
  require_object(json);
  PausedQueue paused;
  paused.queue = text(json, "queue", true);
  if (!is_name(paused.queue)) throw Error(Exit::data, "its queue is no name");
  paused.node = text(json, "workerId");
  if (!paused.node.empty() && !is_name(paused.node)) throw Error(Exit::data, "its workerId is no name");
  paused.reason = text(json, "reason");
  paused.requester = text(json, "requestedBy");
  paused.since = parse_time(text(json, "pausedAt", true));
  return paused;
}

}  // namespace stem
