// Variables: the files they come from, what those lose on the way through systemd, and whether they make
// sense.

#include <sys/stat.h>

#include "core/redaction.hpp"
#include "diagnosis/check.hpp"
#include "diagnosis/subject.hpp"
#include "service/env_file.hpp"
#include "telemetry/curl_library.hpp"

namespace stem {
namespace {

constexpr auto section = "ENVIRONMENT FILES";

Finding files(const Subject& s) {
  if (s.env_files.empty()) return Finding::skip("the node reads none");
  auto all = Finding::ok("");
  for (const auto& source : s.env_files) {
    try {
      const auto file = EnvFile::read(source.path);
      for (const auto& warning : file.warnings)
        all.add(Finding::warning(warning, "`man stem.env` gives the rules"));
      all.add(Finding::ok(source.path));
    } catch (const Error& error) {
      if (error.code() == Exit::no_input && source.may_be_missing)
        all.add(Finding::ok(source.path + " (missing, may be)"));
      else if (error.code() == Exit::no_permission && s.account && !s.account->can_be_tried())
        all.add(Finding::skip(source.path + " cannot be read by " + user_name(geteuid())));
      else
        all.add(Finding::error(error.what(), "`man stem.env` gives the rules"));
    }
  }
  return all;
}

Finding values(const Subject& s) {
  if (!s.config) return Finding::error(s.config_error, "`man stem.env` lists what each variable accepts");
  return Finding::ok("every variable has a value that is accepted");
}

Finding unknown(const Subject& s) {
  auto all = Finding::ok("");
  for (const auto& warning : unknown_settings(s.environment))
    all.add(Finding::warning(warning, "correct the name, or remove the variable"));
  if (all.text.empty()) all.text = "every variable is known";
  return all;
}

/// What is told to an OpenTelemetry collector. Whether one answers is no concern of the worker's.
Finding telemetry(const Subject& s) {
  if (!s.config) return Finding::skip("the settings cannot be read");
  const auto& config = s.config->telemetry;
  auto all = Finding::ok("");
  for (const auto& warning : config.warnings)
    all.add(Finding::warning(warning,
                             "correct the variable, or remove it; `man stem.env` lists what each accepts"));
  if (config.tells()) {
    try {
      curl_library();
    } catch (const Error& error) {
      all.add(Finding::warning(error.what(), "apt-get install libcurl4"));
    }
  }
  // Said whatever else is said: who has a warning to mend looks for the address.
  const auto say = [&](const std::string& what) { all.text += (all.text.empty() ? "" : "; ") + what; };
  const auto way = [&](const char* what, const std::string& url) {
    if (!url.empty()) say(std::string(what).append(" go to ").append(redacted_url(url)));
  };
  way("spans", config.traces.url);
  way("metrics", config.metrics.url);
  if (!config.tells()) say("nothing is told to an OpenTelemetry collector");
  return all;
}

/// Files that are newer than the process that should have read them.
Finding stale(const Subject& s) {
  if (!s.running() || !s.health.since) return Finding::skip("the worker does not run");
  auto all = Finding::ok("");
  for (const auto& source : s.env_files) {
    struct stat status {};
    if (stat(source.path.c_str(), &status) != 0) continue;
    const WallTime changed{duration_cast<Duration>(std::chrono::seconds{status.st_mtim.tv_sec} +
                                                   std::chrono::nanoseconds{status.st_mtim.tv_nsec})};
    // The start of a process is known to a hundredth of a second.
    if (changed > *s.health.since + std::chrono::seconds{1})
      all.add(Finding::warning(source.path + " has changed since the worker was started",
                               "`stem worker multi restart " + s.node + "`, unless it was reloaded since"));
  }
  if (all.text.empty()) all.text = "the worker is younger than its files";
  return all;
}

constexpr Check checks[] = {
    {"environment-files", section, files},   {"settings", section, values},
    {"unknown-variables", section, unknown}, {"telemetry", section, telemetry},
    {"stale-settings", section, stale},
};

}  // namespace

std::span<const Check> environment_checks() {
  return checks;
}

}  // namespace stem
