// The broker and the result backend, asked as the worker would ask them.

#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>

#include "core/redaction.hpp"
#include "diagnosis/check.hpp"
#include "diagnosis/subject.hpp"
#include "storage/open.hpp"
#include "storage/url.hpp"

namespace stem {
namespace {

constexpr auto section = "BROKER";
constexpr Duration patience = std::chrono::seconds{5};
/// A worker makes a round trip for each batch of jobs.
constexpr Duration slow = std::chrono::milliseconds{50};

/// A database that is not there yet: nothing is made here, so only its place is looked at.
std::optional<Finding> not_made_yet(const Subject& s, const std::string& url) {
  const auto parsed = Url::parse(url);
  if (parsed.scheme != "sqlite" || !parsed.location.starts_with('/') ||
      access(parsed.location.c_str(), F_OK) == 0 || errno != ENOENT)
    return std::nullopt;
  const auto directory = parsed.location.substr(0, std::max<std::size_t>(parsed.location.rfind('/'), 1));
  struct stat status {};
  if (stat(directory.c_str(), &status) != 0) {
    if (directory == s.state_dir || s.config->broker_url.empty())
      return Finding::ok(redacted_url(url) + " is made at the first start");
    return Finding::error("the directory of " + redacted_url(url) + ": " + std::strerror(errno),
                          "make it for " + s.account->name + ", or correct STEM_BROKER_URL");
  }
  if (const auto cannot = access_as(*s.account, directory, W_OK | X_OK); cannot && *cannot)
    return Finding::error(redacted_url(url) + " cannot be made: " + s.account->name + " cannot write in " +
                              directory + ": " + std::strerror(*cannot),
                          "chown " + s.account->name + ": " + directory);
  return Finding::ok(redacted_url(url) + " is made at the first start");
}

Finding try_out(const Subject& s, const std::string& url, const std::string& variable,
                const std::function<std::string(const Storage&)>& ask) {
  if (!s.account) return Finding::skip("there is no user who could ask it");
  if (!s.account->can_be_tried())
    return Finding::skip("only root or " + s.account->name + " can tell whether it may ask");
  if (const auto early = not_made_yet(s, url)) return *early;
  if (Url::parse(url).scheme == "memory")
    return Finding::warning(
        redacted_url(url) +
            " is kept in the worker's own memory: no other process can enqueue, and all is lost when it ends",
        variable + "=sqlite:///var/lib/stem/stem.db keeps it");
  auto config = *s.config;
  config.broker_url = url;
  config.result_backend_url.clear();
  const auto trial = try_as(*s.account, patience, [&] {
    const auto storage = open_storage(config);
    (void)ask(storage);  // connects, which a worker does once
    const auto began = std::chrono::steady_clock::now();
    auto words = ask(storage);
    const auto took = std::chrono::duration_cast<Duration>(std::chrono::steady_clock::now() - began);
    return std::to_string(took.count()) + " " + words;
  });
  switch (trial.kind) {
    case Trial::Kind::returned: {
      const auto blank = trial.text.find(' ');
      const Duration took{std::stoll(trial.text)};
      char shown[32];
      std::snprintf(shown, sizeof shown, "%.2f ms", static_cast<double>(took.count()) / 1000);
      auto text = redacted_url(url) + " answers in " + shown + trial.text.substr(blank + 1);
      return took > slow ? Finding::warning(
                               std::move(text),
                               "a slow answer bounds every worker: look at the load of that disk or server")
                         : Finding::ok(std::move(text));
    }
    case Trial::Kind::failed:
      return Finding::error(
          trial.text,
          trial.code == Exit::no_permission
              ? "files of the queue must belong to " + s.account->name + ": were they made by root?"
          : trial.code == Exit::config ? "correct " + variable
                                       : "the worker tries until it answers; look at the server or the disk");
    case Trial::Kind::late:
      return Finding::error(redacted_url(url) + " did not answer within " + format_duration(patience),
                            "look at the server or the disk, and for whoever holds a lock");
    case Trial::Kind::died:
      return Finding::error(
          "asking " + redacted_url(url) + " ended with signal " + std::to_string(trial.signal),
          "please report it");
    default:
      return Finding::skip("there is no process left to ask it with");
  }
}

Finding broker(const Subject& s) {
  if (!s.config) return Finding::skip("the configuration cannot be read");
  return try_out(s, s.broker_url(), "STEM_BROKER_URL", [](const Storage& storage) {
    std::int64_t ready = 0, dead = 0;
    for (const auto& queue : storage.broker->depths()) ready += queue.ready, dead += queue.dead;
    return ": " + std::to_string(ready) + " ready, " + std::to_string(dead) + " dead";
  });
}

Finding result_backend(const Subject& s) {
  if (!s.config) return Finding::skip("the configuration cannot be read");
  const auto& url = s.config->result_backend_url;
  if (url.empty() || url == s.broker_url())
    return Finding::ok("results are kept by the broker, in one commit with the job");
  auto finding = try_out(s, url, "STEM_RESULT_BACKEND_URL", [](const Storage& storage) {
    storage.results->get("result:none");
    return std::string();
  });
  if (finding.severity == Severity::ok && !finding.skipped)
    finding.text += "; a job and its result are two commits";
  return finding;
}

constexpr Check checks[] = {{"broker", section, broker}, {"result-backend", section, result_backend}};

}  // namespace

std::span<const Check> storage_checks() {
  return checks;
}

}  // namespace stem
