#include "diagnosis/diagnosis.hpp"

#include <algorithm>

#include "core/redaction.hpp"

namespace stem {
namespace {

Finding run(const Check& check, const Subject& subject) {
  try {
    return check.run(subject);
  } catch (const Error& error) {
    return Finding::error(error.what(), "");
  } catch (const std::exception& error) {
    return Finding::error(std::string("internal error: ") + error.what(), "please report it");
  }
}

/// For a terminal: one line, no control characters, no passwords.
std::string plain(const std::string& text) {
  auto line = redacted(text);
  std::replace_if(
      line.begin(), line.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, ' ');
  return line;
}

}  // namespace

std::string_view name_of(Severity severity) {
  return severity == Severity::error ? "error" : severity == Severity::warning ? "warning" : "ok";
}

void Finding::add(Finding other) {
  if (other.severity < severity) return;
  if (other.severity > severity || text.empty() || (skipped && !other.skipped)) {
    *this = std::move(other);
    return;
  }
  if (other.skipped && !skipped) return;
  text += "; " + other.text;
  if (!other.fix.empty() && other.fix != fix) fix += (fix.empty() ? "" : "; ") + other.fix;
}

std::size_t Diagnosis::count(Severity severity) const {
  return static_cast<std::size_t>(std::count_if(results.begin(), results.end(), [&](const Diagnosed& one) {
    return one.finding.severity == severity && !one.finding.skipped;
  }));
}

std::size_t Diagnosis::skipped() const {
  return static_cast<std::size_t>(std::count_if(results.begin(), results.end(),
                                                [](const Diagnosed& one) { return one.finding.skipped; }));
}

Severity Diagnosis::worst() const {
  auto worst = Severity::ok;
  for (const auto& one : results) worst = std::max(worst, one.finding.severity);
  return worst;
}

std::vector<const Check*> all_checks() {
  std::vector<const Check*> all;
  for (const auto group : {unit_checks(), unit_file_checks(), program_checks(), account_checks(),
                           directory_checks(), environment_checks(), secret_checks(), storage_checks(),
                           security_checks(), pidfile_checks(), process_checks(), host_checks()})
    for (const auto& check : group) all.push_back(&check);
  return all;
}

Diagnosis diagnose(const Subject& subject) {
  Diagnosis diagnosis;
  diagnosis.node = subject.node;
  if (subject.unit) diagnosis.unit = subject.unit_name();
  diagnosis.supervisor = subject.scope ? (subject.scope == Scope::user ? "systemd --user" : "systemd")
                                       : subject.health.supervisor;
  for (const auto* check : all_checks()) {
    auto finding = run(*check, subject);
    finding.text = plain(finding.text);
    finding.fix = plain(finding.fix);
    diagnosis.results.push_back({check, std::move(finding)});
  }
  std::stable_sort(diagnosis.results.begin(), diagnosis.results.end(),
                   [](const Diagnosed& a, const Diagnosed& b) {
                     return a.finding.severity != b.finding.severity ? a.finding.severity > b.finding.severity
                                                                     : a.finding.skipped < b.finding.skipped;
                   });
  return diagnosis;
}

Json to_json(const Diagnosis& diagnosis) {
  const auto or_null = [](const std::string& text) { return text.empty() ? Json() : Json(text); };
  Json checks = Json::array();
  for (const auto& [check, finding] : diagnosis.results)
    checks.push_back({{"id", check->id},
                      {"status", name_of(finding.severity)},
                      {"skipped", finding.skipped},
                      {"finding", finding.text},
                      {"fix", or_null(finding.fix)},
                      {"section", check->section}});
  return {{"node", diagnosis.node},
          {"unit", or_null(diagnosis.unit)},
          {"supervisor", or_null(diagnosis.supervisor)},
          {"status", name_of(diagnosis.worst())},
          {"errors", diagnosis.count(Severity::error)},
          {"warnings", diagnosis.count(Severity::warning)},
          {"checks", std::move(checks)}};
}

}  // namespace stem
