#include "supervisor/systemd_jobs.hpp"

#include <poll.h>
#include <sdbus-c++/sdbus-c++.h>
#include <systemd/sd-bus.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <deque>
#include <stem/error.hpp>
#include <unordered_map>

#include "supervisor/refusal.hpp"

namespace stem {
namespace {

constexpr auto service = "org.freedesktop.systemd1";
constexpr auto manager_path = "/org/freedesktop/systemd1";
constexpr auto manager_interface = "org.freedesktop.systemd1.Manager";
/// A message bus answers a connection's 129th open question with an error (max_replies_per_connection in
/// dbus-daemon(1)).
constexpr std::size_t open_questions = 100;

const char* method_of(Verb verb) {
  switch (verb) {
    case Verb::stop:
      return "StopUnit";
    case Verb::restart:
      return "RestartUnit";
    case Verb::reload:
      return "ReloadUnit";
    default:
      return "StartUnit";
  }
}

/// The connection or the manager behind it has gone; whether the call arrived is not known.
bool is_lost(const std::string& name) {
  return name == "org.freedesktop.DBus.Error.NoReply" || name == "org.freedesktop.DBus.Error.Disconnected" ||
         name == "org.freedesktop.DBus.Error.NameHasNoOwner" || name == "org.freedesktop.DBus.Error.Timeout";
}

std::string hex(const std::vector<std::uint8_t>& bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (const auto byte : bytes) text += {digits[byte >> 4], digits[byte & 15]};
  return text;
}

std::string object_path(const std::string& unit) {
  char* path = nullptr;
  if (sd_bus_path_encode("/org/freedesktop/systemd1/unit", unit.c_str(), &path) < 0) throw std::bad_alloc();
  std::string text = path;
  std::free(path);
  return text;
}

/// A property of a unit, and how it is taken over.
struct Property {
  const char* interface;
  const char* name;
  void (*take)(UnitFacts&, const sdbus::Variant&);
};

constexpr auto of_unit = "org.freedesktop.systemd1.Unit";
constexpr auto of_service = "org.freedesktop.systemd1.Service";

constexpr Property success[] = {
    {of_unit, "ActiveState",
     [](UnitFacts& f, const sdbus::Variant& v) { f.active_state = v.get<std::string>(); }},
    {of_service, "MainPID",
     [](UnitFacts& f, const sdbus::Variant& v) { f.main_pid = static_cast<pid_t>(v.get<std::uint32_t>()); }},
};
constexpr Property failure[] = {
    {of_unit, "LoadState",
     [](UnitFacts& f, const sdbus::Variant& v) { f.load_state = v.get<std::string>(); }},
    {of_unit, "SubState", [](UnitFacts& f, const sdbus::Variant& v) { f.sub_state = v.get<std::string>(); }},
    {of_service, "Result", [](UnitFacts& f, const sdbus::Variant& v) { f.result = v.get<std::string>(); }},
    {of_service, "ExecMainCode",
     [](UnitFacts& f, const sdbus::Variant& v) { f.exit_code = v.get<std::int32_t>(); }},
    {of_service, "ExecMainStatus",
     [](UnitFacts& f, const sdbus::Variant& v) { f.exit_status = v.get<std::int32_t>(); }},
    {of_service, "ExecMainPID",
     [](UnitFacts& f, const sdbus::Variant& v) { f.last_pid = static_cast<pid_t>(v.get<std::uint32_t>()); }},
    {of_service, "ExecMainStartTimestamp",
     [](UnitFacts& f, const sdbus::Variant& v) {
       if (const auto at = v.get<std::uint64_t>())
         f.last_started = WallTime{Duration{static_cast<std::int64_t>(at)}};
     }},
    {of_unit, "InvocationID",
     [](UnitFacts& f, const sdbus::Variant& v) { f.invocation = hex(v.get<std::vector<std::uint8_t>>()); }},
};

}  // namespace

SystemdJobs::SystemdJobs(const Manager& manager) : where_(manager) {
  const bool system = manager.scope == Scope::system;
  try {
    bus_ = !manager.host.empty() ? sdbus::createRemoteSystemBusConnection(manager.host)
           : system              ? sdbus::createSystemBusConnection()
                                 : sdbus::createSessionBusConnection();
    manager_ = sdbus::createProxy(*bus_, service, manager_path);
  } catch (const sdbus::Error& error) {
    const auto& host = manager.host;
    throw Error(Exit::unavailable,
                host.empty()
                    ? std::string("cannot reach the ") + (system ? "system" : "user") +
                          " bus: " + error.getMessage() + "; see that dbus runs (package dbus" +
                          (system ? "" : "-user-session") + ")"
                    : "cannot reach the system bus of " + host + ": " + error.getMessage() + "; see that `" +
                          Manager(Scope::system, host).command("systemd-stdio-bridge") +
                          "` connects without a question");
  }
}

SystemdJobs::~SystemdJobs() = default;

void SystemdJobs::reload_manager() {
  try {
    // With thousands of units it takes its time: systemctl waits as long.
    manager_->callMethod("Reload").onInterface(manager_interface).withTimeout(std::chrono::minutes{5});
  } catch (const sdbus::Error& error) {
    const auto code = is_permission_error(error.getName()) ? Exit::no_permission
                      : is_lost(error.getName())           ? Exit::unavailable
                                                           : Exit::software;
    throw Error(code, "the service manager does not reload its units (systemctl daemon-reload): " +
                          error.getMessage());
  }
}

std::vector<std::string> SystemdJobs::link(Verb verb, const std::vector<std::string>& units) {
  using Change = sdbus::Struct<std::string, std::string, std::string>;  // what, link, target
  std::vector<Change> changes;
  try {
    // Not only for this boot; and a link that leads elsewhere is somebody's will.
    if (bool can_be_enabled = false; verb == Verb::enable)
      manager_->callMethod("EnableUnitFiles")
          .onInterface(manager_interface)
          .withArguments(units, false, false)
          .storeResultsTo(can_be_enabled, changes);
    else
      manager_->callMethod("DisableUnitFiles")
          .onInterface(manager_interface)
          .withArguments(units, false)
          .storeResultsTo(changes);
  } catch (const sdbus::Error& error) {
    throw explain_refusal(verb, units.size() == 1 ? units[0] : "stem-worker@ units", where_, error.getName(),
                          error.getMessage());
  }
  std::vector<std::string> links;
  for (const auto& change : changes) links.push_back(change.get<1>());
  return links;
}

/// One call of run(): sends, receives and keeps account, on the caller's thread.
class SystemdJobs::Batch {
 public:
  Batch(sdbus::IConnection& bus, Verb verb, bool wait, const std::function<void(const Ended&)>& ended)
      : bus_(bus),
        manager_(sdbus::createProxy(bus, service, manager_path)),
        verb_(verb),
        wait_(wait),
        ended_(ended) {}

  void run(const std::vector<std::string>& units, const std::vector<std::string>& forgive,
           std::optional<SteadyTime> deadline) {
    for (const auto& unit : units) unended_.push_back({unit});
    unasked_ = units.size();
    try {
      if (wait_) subscribe();
      for (const auto& unit : forgive) calls_.emplace_back([this, unit] { forget_failure(unit); });
      for (std::size_t i = 0; i < units.size(); ++i) calls_.emplace_back([this, i] { send(i); });
      pump(units.size(), deadline);
    } catch (const sdbus::Error&) {
      end_rest("lost");
    }
  }

 private:
  struct Unit {
    std::string name;
    bool looking = false, ended = false;
  };

  /// Before the first job: a job may be over before its call returns.
  void subscribe() {
    match_ = bus_.addMatch(
        "type='signal',sender='org.freedesktop.systemd1',path='/org/freedesktop/systemd1',"
        "interface='org.freedesktop.systemd1.Manager',member='JobRemoved'",
        [this](sdbus::Message& message) { on_removed(message); });
    calls_.emplace_back([this] {
      ++open_;
      manager_->callMethodAsync("Subscribe")
          .onInterface(manager_interface)
          .uponReplyInvoke([this](const sdbus::Error*) { --open_; });
    });
  }

  void forget_failure(const std::string& unit) {
    ++open_;
    // An error means that there was nothing to forget, or that we may not: then the start fails as well, and
    // says so.
    manager_->callMethodAsync("ResetFailedUnit")
        .onInterface(manager_interface)
        .withArguments(unit)
        .uponReplyInvoke([this](const sdbus::Error*) { --open_; });
  }

  void send(std::size_t index) {
    ++open_;
    manager_->callMethodAsync(method_of(verb_))
        .onInterface(manager_interface)
        .withArguments(unended_[index].name, std::string("replace"))
        .uponReplyInvoke([this, index](const sdbus::Error* error, const sdbus::ObjectPath& job) {
          --open_;
          --unasked_;
          if (error) return on_refused(index, *error);
          if (!wait_) return end({unended_[index].name, "queued", {}, {}, {}}, index);
          jobs_.emplace(std::string(job), index);
          if (const auto early = removed_.find(std::string(job)); early != removed_.end())
            on_done(index, early->second);
        });
  }

  void on_refused(std::size_t index, const sdbus::Error& error) {
    Ended ended{unended_[index].name,
                is_lost(error.getName()) ? "lost" : "refused",
                error.getName(),
                error.getMessage(),
                {}};
    end(ended, index);
  }

  void on_removed(sdbus::Message& message) {
    std::uint32_t id = 0;
    sdbus::ObjectPath job;
    std::string unit, result;
    message >> id >> job >> unit >> result;
    if (const auto known = jobs_.find(std::string(job)); known != jobs_.end())
      on_done(known->second, result);
    else
      removed_.emplace(std::string(job),
                       result);  // of ours before its call has returned, or of somebody else
  }

  /// `done` is not `running`: the unit may have ended since, or a condition kept it from starting. So look.
  void on_done(std::size_t index, const std::string& result) {
    if (unended_[index].ended || unended_[index].looking) return;
    unended_[index].looking = true;
    auto ended = std::make_shared<Ended>();
    ended->unit = ended->facts.unit = unended_[index].name;
    ended->result = result;
    auto& unit = *proxies_.emplace_back(sdbus::createProxy(bus_, service, object_path(ended->unit)));
    look(unit, ended, success, [this, &unit, ended, index] {
      if (ended->result == "done" && ended->facts.running() == (verb_ != Verb::stop))
        return end(*ended, index);
      look(unit, ended, failure, [this, ended, index] { end(*ended, index); });
    });
  }

  /// Asks for these properties, when their turn comes, and goes on with `then` when all have been answered.
  template <std::size_t Count>
  void look(sdbus::IProxy& unit, const std::shared_ptr<Ended>& ended, const Property (&properties)[Count],
            const std::function<void()>& then) {
    auto missing = std::make_shared<std::size_t>(Count);
    for (const auto& property : properties)
      calls_.push_back([this, &unit, ended, &property, missing, then] {
        ++open_;
        unit.callMethodAsync("Get")
            .onInterface("org.freedesktop.DBus.Properties")
            .withArguments(std::string(property.interface), std::string(property.name))
            .uponReplyInvoke(
                [this, ended, &property, missing, then](const sdbus::Error* error, sdbus::Variant value) {
                  --open_;
                  if (!error) property.take(ended->facts, value);
                  if (--*missing == 0) then();
                });
      });
  }

  void end(const Ended& ended, std::size_t index) {
    if (unended_[index].ended) return;
    unended_[index].ended = true;
    ++count_;
    ended_(ended);
  }

  void end_rest(const char* result) {
    for (std::size_t i = 0; i < unended_.size(); ++i) end({unended_[i].name, result, {}, {}, {}}, i);
  }

  void pump(std::size_t total, std::optional<SteadyTime> deadline) {
    while (count_ < total) {
      for (; !calls_.empty() && open_ < open_questions; calls_.pop_front()) calls_.front()();
      if (bus_.processPendingRequest() || count_ == total) continue;
      if (!calls_.empty() && open_ < open_questions) continue;
      auto data = bus_.getEventLoopPollData();
      int timeout = data.getPollTimeout();
      // However short the time is, what was asked for is asked for.
      if (deadline && unasked_ == 0) {
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(*deadline - std::chrono::steady_clock::now())
                .count();
        if (left <= 0) return end_rest("late");
        timeout = timeout < 0 ? static_cast<int>(std::min<long long>(left, 60'000))
                              : std::min(timeout, static_cast<int>(std::min<long long>(left, 60'000)));
      }
      pollfd ready{data.fd, data.events, 0};
      if (poll(&ready, 1, timeout) < 0 && errno != EINTR)
        throw sdbus::Error("org.freedesktop.DBus.Error.Disconnected", "poll failed");
    }
  }

  sdbus::IConnection& bus_;
  std::unique_ptr<sdbus::IProxy> manager_;  // of this batch alone: answers that come after its end go nowhere
  Verb verb_;
  bool wait_;
  const std::function<void(const Ended&)>& ended_;
  sdbus::Slot match_;
  std::deque<std::function<void()>> calls_;  // not made yet
  std::vector<Unit> unended_;
  std::vector<std::unique_ptr<sdbus::IProxy>> proxies_;  // of units whose jobs have ended
  std::unordered_map<std::string, std::size_t> jobs_;
  std::unordered_map<std::string, std::string> removed_;
  std::size_t open_ = 0, count_ = 0, unasked_ = 0;
};

void SystemdJobs::run(Verb verb, const std::vector<std::string>& units,
                      const std::vector<std::string>& forgive, bool wait, std::optional<SteadyTime> deadline,
                      const std::function<void(const Ended&)>& ended) {
  Batch(*bus_, verb, wait, ended).run(units, forgive, deadline);
}

}  // namespace stem
