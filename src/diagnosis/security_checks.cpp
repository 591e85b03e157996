// Whom the worker trusts, and who trusts it: TLS and signatures.

#include "diagnosis/check.hpp"
#include "diagnosis/security.hpp"
#include "diagnosis/subject.hpp"
#include "storage/tls_look.hpp"

namespace stem {
namespace {

constexpr auto section = "TLS AND SIGNING";
/// Connecting, the handshake, and a second look: each takes at most as long as an answer may.
constexpr Duration patience = std::chrono::seconds{11};

/// Files are read, and the server is asked, as the worker's user.
Finding tls_to(const Subject& s, const std::string& url) {
  if (!has_tls_to_look_at(url, s.config->tls)) return Finding::skip("no address has TLS");
  if (!s.account) return Finding::skip("there is no user who could connect");
  if (!s.account->can_be_tried())
    return Finding::skip("only root or " + s.account->name + " can tell whether it may connect");
  const auto trial = try_as(*s.account, patience, [&] {
    const auto finding = judge_tls(url, s.config->tls, s.now);
    return Json{
        {"severity", static_cast<int>(finding.severity)}, {"text", finding.text}, {"fix", finding.fix}}
        .dump(-1, ' ', false, Json::error_handler_t::replace);
  });
  switch (trial.kind) {
    case Trial::Kind::returned: {
      const auto told = Json::parse(trial.text);
      return {static_cast<Severity>(told["severity"].get<int>()), told["text"], told["fix"], false};
    }
    case Trial::Kind::failed:
      return finding_of(Error(trial.code, trial.text));
    case Trial::Kind::late:
      return Finding::error("the TLS of a server did not answer within " + format_duration(patience),
                            "look at the server");
    case Trial::Kind::died:
      return Finding::error("looking at TLS ended with signal " + std::to_string(trial.signal),
                            "please report it");
    default:
      return Finding::skip("there is no process left to look with");
  }
}

Finding tls(const Subject& s) {
  if (!s.config) return Finding::skip("the configuration cannot be read");
  auto all = tls_to(s, s.broker_url());
  if (const auto& results = s.config->result_backend_url; !results.empty() && results != s.broker_url())
    all.add(tls_to(s, results));
  return all;
}

Finding signing(const Subject& s) {
  if (!s.config) return Finding::skip("the configuration cannot be read");
  if (!s.config->command.empty() && s.config->signing.on())
    return Finding::skip("the program of STEM_WORKER_COMMAND verifies for itself");
  return judge_signing(s.config->signing);
}

constexpr Check checks[] = {{"tls", section, tls}, {"signing", section, signing}};

}  // namespace

std::span<const Check> security_checks() {
  return checks;
}

}  // namespace stem
