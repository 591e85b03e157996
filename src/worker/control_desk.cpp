#include "worker/control_desk.hpp"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <set>
#include <stem/version.hpp>

#include "core/name.hpp"
#include "core/stop_mode.hpp"
#include "worker/engine.hpp"

namespace stem {
namespace {

using std::chrono::milliseconds;

constexpr Duration review_every = std::chrono::minutes{5};
constexpr std::size_t most_shown = 1000;
/// How often, and how long, one who looks on may have heartbeats.
constexpr Duration shortest_watch = milliseconds{250};
constexpr Duration longest_watch = std::chrono::minutes{1};

std::int64_t ms(Duration length) {
  return duration_cast<milliseconds>(length).count();
}

/// Resident memory, from /proc/self/statm; 0 where that cannot be read.
std::int64_t memory_bytes() {
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen("/proc/self/statm", "re"), std::fclose);
  long long size = 0, resident = 0;
  if (!file || std::fscanf(file.get(), "%lld %lld", &size, &resident) != 2) return 0;
  return resident * sysconf(_SC_PAGESIZE);
}

Json shown(const HeldJob& job) {
  Json json{{"id", job.id}, {"task", job.task}, {"queue", job.queue}, {"attempt", job.attempt}};
  if (!job.running) return json;
  json["startedAt"] = format_time(job.started_at);
  json["runtimeMs"] = ms(job.runtime);
  if (job.child != 0) json["pid"] = job.child;
  json["status"] = job.cancelled ? "stopping" : "running";
  return json;
}

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
      tasks_(tasks),
      storage_(storage),
      clock_(clock),
      host_(this_host()),
      orders_(storage.standing_orders(), options.name_space, options.signer, clock),
      listener_(*storage.broker, {options.node, host_, options.name_space}, options.signer, clock,
                [this](const ControlRequest& request) { return obey(request); }),
      started_(clock.wall()) {}

void ControlDesk::begin() {
  // In this order: what is ordered in between is read, heard, or both.
  listener_.begin();
  review();
  begun_ = true;
  const auto now = clock_.steady();
  hearing_.heard(now);
  next_review_ = now + review_every;
  next_beat_ = now + options_.heartbeat;
  // Before anybody can know that this worker is ready.
  carefully("write its heartbeat", beats_fail_, [this] { beat(); });
}

void ControlDesk::turn() {
  const auto now = clock_.steady();
  if (now >= hearing_.next()) {
    listener_.hear();
    hearing_.heard(now);
  }
  // Where these fail while the broker answers, jobs go on.
  if (now >= next_review_) {
    next_review_ = now + (carefully("read the standing orders", reviews_fail_, [this] { review(); })
                              ? review_every
                              : options_.heartbeat);
  }
  if (now >= next_beat_) {
    next_beat_ = now + beat_pause(now);
    carefully("write its heartbeat", beats_fail_, [this] { beat(); });
  }
}

void ControlDesk::leave() {
  if (!begun_) return;
  carefully("erase its heartbeat", beats_fail_, [this] {
    storage_.results->erase(
        heartbeat_key({.node = options_.node, .host = host_, .name_space = options_.name_space}));
  });
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

void ControlDesk::review() {
  auto all = orders_.read();
  if (all.refused.size() > refused_orders_)
    spdlog::warn("{} standing orders are not obeyed, such as {}", all.refused.size(), all.refused.front());
  refused_orders_ = all.refused.size();
  revocations_.clear();
  for (auto& one : all.revocations) revocations_.insert_or_assign(one.job, std::move(one));
  keep_to(std::move(all.paused));
  for (const auto& [job, revocation] : revocations_) engine_.revoke(revocation);
}

void ControlDesk::review_pauses() {
  keep_to(orders_.paused());
}

void ControlDesk::keep_to(std::vector<PausedQueue> paused) {
  std::erase_if(paused, [&](const auto& one) { return !one.node.empty() && one.node != options_.node; });
  if (paused != paused_) next_beat_ = {};  // who looks at heartbeats sees it at once
  paused_ = std::move(paused);
  engine_.pause(paused_names());
}

std::vector<std::string> ControlDesk::paused_names() const {
  std::set<std::string> names;
  for (const auto& one : paused_) names.insert(one.queue);
  return {names.begin(), names.end()};
}

const Revocation* ControlDesk::revoked(const std::string& job) {
  if (revocations_.empty()) return nullptr;
  const auto found = revocations_.find(job);
  if (found == revocations_.end()) return nullptr;
  if (found->second.holds(clock_.wall())) return &found->second;
  revocations_.erase(found);
  return nullptr;
}

Json ControlDesk::facts() const {
  const auto& counters = engine_.counters();
  const auto now = clock_.wall();
  double load[3] = {0, 0, 0};
  const int loads = getloadavg(load, 3);
  Json queues = Json::array();
  for (const auto& queue : engine_.subscriptions().queues()) queues.push_back(queue);
  return {{"pid", getpid()},
          {"stem", version},
          {"startedAt", format_time(started_)},
          {"uptimeMs", ms(now - started_)},
          {"concurrency", options_.concurrency},
          {"prefetch", options_.concurrency * options_.prefetch_multiplier},
          {"busy", counters.busy.load()},
          {"stuck", counters.stuck.load()},
          {"inflight", engine_.inflight()},
          {"started", counters.started.load()},
          {"completed", counters.done.load()},
          {"failed", counters.failed.load()},
          {"retried", counters.retried.load()},
          {"cancelled", counters.cancelled.load()},
          {"expired", counters.expired.load()},
          {"limited", counters.limited.load()},
          {"lost", counters.lost.load()},
          {"forged", counters.forged.load()},
          {"refusedOrders", listener_.refused()},
          {"queues", queues},
          {"broadcasts", engine_.subscriptions().channels()},
          {"pausedQueues", paused_names()},
          {"perTask", engine_.tallies().tasks()},
          {"perQueue", engine_.tallies().queues()},
          {"memoryBytes", memory_bytes()},
          {"loadAvg", std::vector<double>(load, load + std::max(loads, 0))},
          {"cpuCount", sysconf(_SC_NPROCESSORS_ONLN)}};
}

Duration ControlDesk::beat_pause(SteadyTime now) const {
  return now < watched_until_ ? std::min(watched_every_, options_.heartbeat) : options_.heartbeat;
}

void ControlDesk::beat() {
  auto told = facts();
  // What has come since the last time: who reads one heartbeat only knows the pace, too.
  const auto& counters = engine_.counters();
  const Counted now{clock_.steady(), counters.done, counters.failed, counters.retried};
  const auto since =
      counted_.at == SteadyTime{} ? Duration::zero() : duration_cast<Duration>(now.at - counted_.at);
  told["recent"] = {{"ms", ms(since)},
                    {"completed", now.done - counted_.done},
                    {"failed", now.failed - counted_.failed},
                    {"retried", now.retried - counted_.retried}};
  const Heartbeat heartbeat{.node = options_.node,
                            .host = host_,
                            .name_space = options_.name_space,
                            .at = clock_.wall(),
                            .interval = options_.heartbeat,
                            .facts = std::move(told)};
  storage_.results->put({heartbeat_record(heartbeat)});
  engine_.count_heartbeat();
  counted_ = now;
}

Json ControlDesk::active() const {
  auto jobs = Json::array();
  for (const auto& job : engine_.held())
    if (job.running && jobs.size() < most_shown) jobs.push_back(shown(job));
  return jobs;
}

Json ControlDesk::obey(const ControlRequest& request) {
  const auto& [type, payload] = std::tie(request.type, request.payload);
  if (type == "ping") return ping();
  if (type == "stats") return stats();
  if (type == "inspect") return inspect(payload);
  if (type == "revoke") return revoke(payload);
  if (type == "queue_pause" || type == "queue_resume") return pause(payload);
  if (type == "queue_status") return queue_status();
  if (type == "shutdown") return shutdown(request);
  if (type == "watch") return watch(payload);
  throw Error(Exit::usage, "this worker does not know the order '" + printable(type) + "'");
}

Json ControlDesk::ping() const {
  const auto queues = engine_.subscriptions().queues();
  return {{"timestamp", format_time(clock_.wall())},
          {"pid", getpid()},
          {"queue", queues.empty() ? "" : queues.front()},
          {"inflight", engine_.inflight()},
          {"subscriptions", subscriptions()}};
}

Json ControlDesk::subscriptions() const {
  const auto& all = engine_.subscriptions();
  return {{"queues", all.queues()}, {"broadcasts", all.channels()}};
}

Json ControlDesk::stats() const {
  auto json = facts();
  std::map<std::string, int> inflight;
  for (const auto& queue : engine_.subscriptions().queues()) inflight[queue] = 0;
  for (const auto& job : engine_.held()) ++inflight[job.queue];
  json["pool"] = engine_.children() ? "processes" : "threads";
  if (const auto* children = engine_.children()) {
    json["children"] = to_json(children->view());
    json["crashed"] = engine_.counters().crashed.load();
  }
  json["timestamp"] = format_time(clock_.wall());
  json["namespace"] = options_.name_space;
  json["host"] = host_;
  json["subscriptions"] = subscriptions();
  json["queues"] = inflight;
  json["active"] = active();
  return json;
}

Json ControlDesk::inspect(const Json& wanted) {
  std::set<std::string> parts;
  if (wanted.contains("parts")) {
    const auto named = names_in(wanted, "parts");
    parts.insert(named.begin(), named.end());
  }
  const auto wants = [&](const char* part) { return parts.empty() || parts.contains(part); };
  Json json{{"timestamp", format_time(clock_.wall())},
            {"inflight", engine_.inflight()},
            {"pausedQueues", paused_names()}};
  if (wants("active")) json["active"] = active();
  if (wants("reserved")) {
    auto& reserved = json["reserved"] = Json::array();
    for (const auto& job : engine_.held())
      if (!job.running && reserved.size() < most_shown) reserved.push_back(shown(job));
  }
  if (wants("scheduled")) {
    auto& scheduled = json["scheduled"] = Json::object();
    const auto queues = engine_.subscriptions().queues();
    for (const auto& depth : storage_.broker->depths())
      if (std::find(queues.begin(), queues.end(), depth.queue) != queues.end())
        scheduled[depth.queue] = depth.delayed;
  }
  if (wants("registered")) {
    auto& registered = json["registered"] = Json::array();
    for (const auto* task : tasks_.all()) registered.push_back(task->name);
  }
  if (wants("revoked")) {
    auto& revoked = json["revoked"] = Json::array();
    const auto now = clock_.wall();
    for (const auto& [job, one] : revocations_)
      if (one.holds(now) && revoked.size() < most_shown) revoked.push_back(to_json(one, options_.name_space));
    json["revokedCount"] = revocations_.size();
  }
  return json;
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
    if (engine_.revoke(one)) inflight.push_back(one.job);
    const auto job = one.job;
    revocations_.insert_or_assign(job, std::move(one));
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
  const auto before = paused_names();
  review_pauses();
  const auto after = paused_names();
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
  return {{"namespace", options_.name_space}, {"paused", paused_names()}, {"subscriptions", subscriptions()}};
}

/// Somebody looks on: for a while, heartbeats come more often.
Json ControlDesk::watch(const Json& wanted) {
  const auto length = [&](const char* key, Duration least, Duration most) {
    const auto found = wanted.find(key);
    if (found == wanted.end() || !found->is_number_integer())
      throw Error(Exit::data, std::string("its ") + key + " is no number");
    const auto asked = std::clamp<std::int64_t>(found->get<std::int64_t>(), 0, ms(longest_watch));
    return std::clamp<Duration>(milliseconds{asked}, least, most);
  };
  const auto now = clock_.steady();
  const auto every = length("everyMs", shortest_watch, longest_watch);
  // Of several who look on, the one who wants most is served; one who begins gets a heartbeat at once.
  const bool begins = now >= watched_until_;
  watched_every_ = begins ? every : std::min(watched_every_, every);
  watched_until_ = std::max(watched_until_, now + length("forMs", Duration::zero(), longest_watch));
  next_beat_ = std::min(next_beat_, begins ? now : now + beat_pause(now));
  return {{"everyMs", ms(beat_pause(now))}, {"forMs", ms(duration_cast<Duration>(watched_until_ - now))}};
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
          {"active", active().size()}};
}

}  // namespace stem
