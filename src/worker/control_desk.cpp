#include "worker/control_desk.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <set>

#include "core/name.hpp"
#include "core/stop_mode.hpp"
#include "worker/engine.hpp"

namespace stem {
namespace {

constexpr Duration review_every = std::chrono::minutes{5};

std::vector<std::string> names_in(const Json& payload, const char* key) {
  std::vector<std::string> names;
  const auto found = payload.find(key);
  if (found == payload.end() || !found->is_array())
    throw Error(Exit::data, std::string("its ") + key + " are no list");
  for (const auto& one : *found) {
    if (!one.is_string() || !is_name(one.get<std::string>()))
      throw Error(Exit::data, std::string("its ") + key + " are no names");
    names.push_back(one.get<std::string>());
  }
  return names;
}

}  // namespace

ControlDesk::ControlDesk(Engine& engine, const EngineOptions& options, const Registry& tasks,
                         const Storage& storage, const Clock& clock)
    : engine_(engine),
      options_(options),
      storage_(storage),
      clock_(clock),
      host_(this_host()),
      listener_(*storage.broker, {options.node, host_, options.name_space}, options.signer, clock,
                [this](const ControlRequest& request) { return obey(request); }),
      orders_(engine, options.node, {storage.standing_orders(), options.name_space, options.signer, clock},
              clock),
      report_(engine, options, tasks, storage, orders_, listener_, host_, clock),
      pulse_(options, engine.counters(), *storage.results, host_, clock) {}

void ControlDesk::begin() {
  // In this order: what is ordered in between is read, heard, or both.
  listener_.begin();
  orders_.review();
  begun_ = true;
  const auto now = clock_.steady();
  hearing_.heard(now);
  next_review_ = now + review_every;
  // Before anybody can know that this worker is ready.
  beat();
}

void ControlDesk::turn() {
  const auto now = clock_.steady();
  if (now >= hearing_.next()) {
    listener_.hear();
    hearing_.heard(now);
  }
  // Where these fail while the broker answers, jobs go on.
  if (now >= next_review_) {
    const bool done = carefully("read the standing orders", reviews_fail_, [this] {
      if (orders_.review()) pulse_.hurry();
    });
    next_review_ = now + (done ? review_every : options_.heartbeat);
  }
  if (now >= pulse_.next()) beat();
}

void ControlDesk::beat() {
  carefully("write its heartbeat", beats_fail_, [this] {
    pulse_.beat(report_.facts());
    engine_.count_heartbeat();
  });
}

void ControlDesk::leave() {
  if (begun_) carefully("erase its heartbeat", beats_fail_, [this] { pulse_.end(); });
}

/// A failure is logged when it begins and when it has passed.
bool ControlDesk::carefully(const char* what, bool& failing, const std::function<void()>& call) {
  try {
    call();
    if (failing) spdlog::info("this worker can {} again", what);
    failing = false;
    return true;
  } catch (const Error& error) {
    if (!failing) spdlog::warn("this worker cannot {}: {}; trying again", what, error.what());
    failing = true;
    return false;
  }
}

Json ControlDesk::obey(const ControlRequest& request) {
  const auto& [type, payload] = std::tie(request.type, request.payload);
  if (type == "ping") return report_.ping();
  if (type == "stats") return report_.stats();
  if (type == "inspect") return inspect(payload);
  if (type == "revoke") return revoke(payload);
  if (type == "queue_pause" || type == "queue_resume") return pause(payload);
  if (type == "queue_status") return queue_status();
  if (type == "shutdown") return shutdown(request);
  if (type == "watch") return pulse_.watch(payload);
  throw Error(Exit::usage, "this worker does not know the order '" + printable(type) + "'");
}

Json ControlDesk::inspect(const Json& wanted) const {
  if (!wanted.contains("parts")) return report_.inspect({});
  const auto parts = names_in(wanted, "parts");
  return report_.inspect({parts.begin(), parts.end()});
}

void ControlDesk::require_namespace(const Json& payload) const {
  const auto found = payload.find("namespace");
  if (found != payload.end() && *found != options_.name_space)
    throw Error(Exit::data, "it is meant for another namespace; this worker is of " + options_.name_space);
}

Json ControlDesk::revoke(const Json& wanted) {
  require_namespace(wanted);
  const auto list = wanted.find("revocations");
  if (list == wanted.end() || !list->is_array()) throw Error(Exit::data, "its revocations are no list");
  std::vector<Revocation> all;
  for (const auto& one : *list) all.push_back(revocation_from(one));
  const auto now = clock_.wall();
  auto tasks = Json::array(), inflight = Json::array(), expired = Json::array();
  for (auto& one : all) {
    tasks.push_back(one.job);
    if (!one.holds(now)) {
      expired.push_back(one.job);
      continue;
    }
    const auto job = one.job;
    if (orders_.revoke(std::move(one))) inflight.push_back(job);
  }
  return {{"namespace", options_.name_space},
          {"tasks", tasks},
          {"revoked", tasks.size() - expired.size()},
          {"inflight", inflight},
          {"expired", expired}};
}

/// What is paused is what the store says, whatever order messages come in.
Json ControlDesk::pause(const Json& wanted) {
  require_namespace(wanted);
  const auto queues = names_in(wanted, "queues");
  const auto before = orders_.paused();
  if (orders_.review_pauses()) pulse_.hurry();
  const auto after = orders_.paused();
  const auto is_in = [](const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  };
  const auto updated = std::count_if(queues.begin(), queues.end(), [&](const auto& queue) {
    return is_in(before, queue) != is_in(after, queue);
  });
  return {{"namespace", options_.name_space},
          {"queues", queues},
          {"updated", updated},
          {"persisted", true},
          {"paused", after}};
}

Json ControlDesk::queue_status() const {
  return {{"namespace", options_.name_space},
          {"paused", orders_.paused()},
          {"subscriptions", report_.subscriptions()}};
}

Json ControlDesk::shutdown(const ControlRequest& request) {
  const auto word = request.payload.value("mode", Json("warm"));
  const auto mode = word.is_string() ? stop_mode_from(word.get<std::string>()) : std::nullopt;
  if (!mode) throw Error(Exit::data, "its mode is none of warm, soft and hard");
  // A worker that is started again must not obey the same order again, whoever repeats it.
  const auto key = "obeyed:" + options_.name_space + ":" + options_.node + "@" + host_ + ":" + request.id;
  if (!storage_.standing_orders().compare_and_set(
          {key, "1", request.expires - clock_.wall() + std::chrono::minutes{1}}, 0))
    throw Error(Exit::data, "it was obeyed before");
  const bool first = engine_.tell_to_end(*mode);
  return {{"status", first ? "initiated" : "in-progress"},
          {"mode", to_string(*mode)},
          {"active", report_.active().size()}};
}

}  // namespace stem
