// How the unit fares in systemd's hands: is it there, does it run, may it start.

#include "core/redaction.hpp"
#include "diagnosis/check.hpp"
#include "diagnosis/subject.hpp"
#include "supervisor/journal.hpp"

namespace stem {
namespace {

constexpr auto section = "UNITS AND DROP-INS";
Finding no_systemd() {
  return Finding::skip("systemd does not run this node");
}

Finding manager(const Subject& s) {
  if (!s.manager_error.empty())
    return Finding::error(
        s.manager_error,
        s.scope == Scope::user
            ? "say `loginctl enable-linger`, or log in anew; `systemctl --user status` must answer"
            : "see whether `systemctl status` answers; in a container, give it the host's bus or use "
              "--supervisor start-stop-daemon");
  if (!s.scope)
    return Finding::skip(s.systemd_booted ? "systemd runs here, and this node runs without it"
                                          : "systemd does not run here");
  return Finding::ok(s.scope == Scope::user ? "the user's service manager answers" : "systemd answers");
}

Finding unit_file(const Subject& s) {
  if (!s.unit) return no_systemd();
  const auto& state = s.unit->facts.load_state;
  if (state == "not-found")
    return Finding::error("stem-worker@.service is not installed for this service manager",
                          "install Stem's units, then `" + s.systemctl("daemon-reload") + "`");
  if (state == "masked") return Finding::skip("masked");
  if (state != "loaded")
    return Finding::error(
        "the unit cannot be loaded: " + (s.unit->load_error.empty() ? state : s.unit->load_error),
        "`" + s.systemctl("cat " + s.unit_name()) +
            "` shows the lines, `systemd-analyze verify` the mistake");
  return Finding::ok(s.unit->fragment);
}

Finding masked(const Subject& s) {
  if (!s.unit) return no_systemd();
  const bool is = s.unit->facts.load_state == "masked" || s.unit->file_state.starts_with("masked");
  if (is)
    return Finding::error("the unit is masked, so nothing can start it",
                          "`" + s.systemctl("unmask " + s.unit_name()) + "`");
  return Finding::ok("the unit is not masked");
}

Finding reload_due(const Subject& s) {
  if (!s.under_systemd()) return no_systemd();
  if (s.unit->needs_reload)
    return Finding::warning("unit files have changed since systemd read them, so it runs the old ones",
                            "`" + s.systemctl("daemon-reload") + "`, then restart the node");
  return Finding::ok("systemd has read the files as they are");
}

/// What the failed run said last, if the journal may be read.
std::string last_words(const Subject& s) {
  const auto excerpt = journal_of(s.unit->facts, *s.scope, 6, {});
  for (auto line = excerpt.lines.rbegin(); line != excerpt.lines.rend(); ++line)
    if (line->find(s.unit_name()) == line->npos) return "; it said: " + redacted(*line);
  return {};
}

Finding unit_state(const Subject& s) {
  if (!s.under_systemd()) return no_systemd();
  const auto& facts = s.unit->facts;
  const auto status = [&] {
    return facts.status_text.empty() ? std::string() : ": " + redacted(facts.status_text);
  };
  const auto more = "`" + std::string("journalctl ") + (s.scope == Scope::user ? "--user " : "") + "-x -u " +
                    s.unit_name() + "` tells more";
  if (!s.unit->conditions_met && facts.active_state == "inactive")
    return Finding::error("a condition of the unit did not hold, so it was not started",
                          "`" + s.systemctl("status " + s.unit_name()) + "` names the condition");
  if (facts.active_state == "failed")
    return Finding::error("failed: " + describe_failure(facts) + last_words(s),
                          more + "; then `stem worker multi start " + s.node + "`");
  if (facts.sub_state == "auto-restart")
    return Finding::error(
        "has failed, and systemd will start it again: " + describe_failure(facts) + last_words(s), more);
  if (facts.active_state == "activating")
    return Finding::warning("starts, and is not ready yet" + status(),
                            "wait, or see what it waits for: " + more);
  if (facts.active_state == "deactivating")
    return Finding::warning("stops" + status(), "wait; what runs comes to its end first");
  if (facts.active_state == "inactive") return Finding::ok("stopped");
  return Finding::ok(facts.active_state + status());
}

Finding start_limit(const Subject& s) {
  if (!s.under_systemd()) return no_systemd();
  const auto& unit = *s.unit;
  if (unit.facts.result == "start-limit-hit" ||
      (unit.facts.active_state == "failed" && unit.start_limit_burst > 0 &&
       unit.facts.restarts >= unit.start_limit_burst))
    return Finding::error("failed " + std::to_string(unit.start_limit_burst) + " times within " +
                              format_duration(unit.start_limit_interval) + ", so systemd leaves it alone",
                          "mend the cause, then `" + s.systemctl("reset-failed " + s.unit_name()) +
                              "`, or `stem worker multi start " + s.node + "`");
  if (unit.start_limit_burst == 0 || unit.start_limit_interval == Duration{})
    return Finding::warning("there is no start limit: a worker that fails at once is started for ever",
                            "remove StartLimitIntervalSec=0 from the drop-in");
  if (unit.start_limit_interval <= unit.restart_delay * static_cast<int>(unit.start_limit_burst))
    return Finding::warning("the start limit is never reached: " + std::to_string(unit.start_limit_burst) +
                                " starts, " + format_duration(unit.restart_delay) +
                                " apart, do not fit into " + format_duration(unit.start_limit_interval),
                            "make StartLimitIntervalSec= longer than StartLimitBurst= times RestartSec=");
  return Finding::ok(std::to_string(unit.start_limit_burst) + " starts in " +
                     format_duration(unit.start_limit_interval) + ", not reached");
}

Finding at_boot(const Subject& s) {
  if (!s.under_systemd()) return no_systemd();
  const auto& state = s.unit->file_state;
  if (state.starts_with("masked")) return Finding::skip("masked");
  if (state.starts_with("enabled")) return Finding::ok(state);
  return Finding::warning(
      "the node is not started when the machine boots (" + (state.empty() ? "not enabled" : state) + ")",
      "`" + s.systemctl("enable " + s.unit_name()) + "`, if it should be");
}

Finding lingering(const Subject& s) {
  if (s.scope != Scope::user || !s.lingers)
    return Finding::skip("the node belongs to no user's service manager");
  if (!*s.lingers)
    return Finding::warning("the worker ends with the last session of " + user_name(getuid()),
                            "`loginctl enable-linger` keeps it running");
  return Finding::ok("the worker outlives the session");
}

Finding sysv_twin(const Subject& s) {
  if (!s.twin) return Finding::skip("the system's service manager does not run this node");
  if (!s.twin->found() || (s.twin->source.empty() && !s.twin->fragment.starts_with("/run/systemd/generator")))
    return Finding::ok("no init script competes");
  const auto script = s.twin->source.empty() ? s.twin->fragment : s.twin->source;
  const auto fix = "`systemctl mask stem-worker.service`, or remove the script: one of the two is enough";
  const auto text = script +
                    " is installed beside the units: systemd makes stem-worker.service of it, so that two "
                    "may manage the same nodes";
  return s.twin->facts.running() ? Finding::error(text + "; it is active", fix) : Finding::warning(text, fix);
}

constexpr Check checks[] = {
    {"systemd", section, manager},       {"unit-file", section, unit_file},
    {"unit-masked", section, masked},    {"daemon-reload", section, reload_due},
    {"unit-state", section, unit_state}, {"start-limit", section, start_limit},
    {"boot", section, at_boot},          {"linger", section, lingering},
    {"sysv-twin", "SYSV", sysv_twin},
};

}  // namespace

std::span<const Check> unit_checks() {
  return checks;
}

}  // namespace stem
