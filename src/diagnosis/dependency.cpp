#include "diagnosis/dependency.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <future>

#include "core/redaction.hpp"
#include "diagnosis/security.hpp"
#include "storage/open.hpp"
#include "storage/tls_look.hpp"
#include "storage/url.hpp"

namespace stem {
namespace {

enum class Asked { broker, store };

Finding plain(Finding finding) {
  finding.text = redacted(finding.text);
  finding.fix = redacted(finding.fix);
  return finding;
}

/// What another process would find at `url`; `latency` is set if it answered.
Finding ask(const Config& config, const std::string& url, Asked asked, std::optional<Duration>& latency) {
  const auto parsed = Url::parse(url);
  if (parsed.scheme == "memory")
    return Finding::warning(
        "it is kept in the memory of each process: nothing that is enqueued here gets to a worker",
        "name a broker that processes share");
  if (parsed.scheme == "sqlite" && access(parsed.location.c_str(), F_OK) != 0 && errno == ENOENT)
    return Finding::ok("it is made by the first who uses it");
  Config one;
  one.tls = config.tls;
  one.broker_url = url;
  const auto storage = open_storage(one);
  std::string text = "answers";
  const auto question = [&] {
    if (asked == Asked::store) {
      storage.results->get("result:none");
      return;
    }
    std::int64_t ready = 0, dead = 0;
    for (const auto& queue : storage.broker->depths()) ready += queue.ready, dead += queue.dead;
    text = "answers: " + std::to_string(ready) + " ready, " + std::to_string(dead) + " dead";
  };
  question();  // connects
  const auto began = std::chrono::steady_clock::now();
  question();
  latency = duration_cast<Duration>(std::chrono::steady_clock::now() - began);
  return Finding::ok(text);
}

Dependency look(const Config& config, const std::string& component, const std::string& url, Asked asked) {
  Dependency one{component, {}, {}, {}};
  try {
    one.address = redacted_url(url);
    one.finding = plain(ask(config, url, asked, one.latency));
  } catch (const Error& error) {
    one.finding = plain(finding_of(error));
  }
  return one;
}

Dependency look_at_security(const Config& config, const std::string& url, WallTime now) {
  Dependency one{"tls", {}, {}, {}};
  try {
    one.address = redacted_url(url);
    one.finding = plain(judge_tls(url, config.tls, now));
  } catch (const Error& error) {
    one.finding = plain(finding_of(error));
  }
  return one;
}

std::string default_address() {
  Environment environment;
  for (const char* name : {"HOME", "STATE_DIRECTORY", "XDG_STATE_HOME"})
    if (const char* value = std::getenv(name)) environment[name] = value;
  return default_url(environment);
}

}  // namespace

std::vector<Dependency> look_at_dependencies(const Config& config, bool backend, WallTime now) {
  const auto broker = config.broker_url.empty() ? default_address() : config.broker_url;
  struct Place {
    const char* component;
    std::string url;
    Asked asked;
  };
  std::vector<Place> places{{"broker", broker, Asked::broker}};
  const auto add = [&](const char* component, const std::string& url) {
    if (backend && !url.empty() && url != broker) places.push_back({component, url, Asked::store});
  };
  add("backend", config.result_backend_url);
  add("schedules", config.schedule_store_url);

  std::vector<std::future<Dependency>> answers;
  for (const auto& place : places)
    answers.push_back(std::async(std::launch::async, [&config, place] {
      return look(config, place.component, place.url, place.asked);
    }));
  std::vector<std::string> seen;
  for (const auto& place : places) {
    if (std::find(seen.begin(), seen.end(), place.url) != seen.end()) continue;
    seen.push_back(place.url);
    answers.push_back(std::async(std::launch::async,
                                 [&config, place, now] { return look_at_security(config, place.url, now); }));
  }
  std::vector<Dependency> all;
  for (auto& answer : answers) {
    auto one = answer.get();
    if (one.component != "tls" || !one.finding.skipped) all.push_back(std::move(one));
  }
  all.push_back({"signing", {}, plain(judge_signing(config.signing)), {}});
  return all;
}

Json to_json(const std::vector<Dependency>& dependencies, const TlsConfig& tls) {
  const auto or_null = [](const std::string& text) { return text.empty() ? Json() : Json(text); };
  Json rows = Json::array();
  for (const auto& one : dependencies) {
    Json row{{"component", one.component},
             {"status", one.finding.skipped ? "off" : name_of(one.finding.severity)},
             {"message", one.finding.text},
             {"address", or_null(one.address)},
             {"latencyMs", one.latency ? Json(static_cast<double>(one.latency->count()) / 1000) : Json()}};
    Json context = Json::object();
    if (one.component == "tls")
      context["tls"] = {{"caCertificate", or_null(tls.ca_cert)},
                        {"clientCertificate", or_null(tls.client_cert)},
                        {"allowInsecure", tls.allow_insecure}};
    if (!one.finding.fix.empty()) context["hints"] = Json::array({one.finding.fix});
    if (!context.empty()) row["context"] = std::move(context);
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace stem
