// TLS and signatures, as diagnose and health see them; real servers.

#include "core/base64.hpp"
#include "diagnosis/dependency.hpp"
#include "diagnosis/security.hpp"
#include "diagnosis_rig.hpp"
#include "tls_assets.hpp"

using namespace stem;
using namespace std::chrono_literals;

namespace {

const TlsAssets& assets() {
  static const TlsAssets made("--host localhost --days 400");
  return made;
}

TlsConfig whole(const TlsAssets& from = assets()) {
  return {from.ca(), from.client(), from.client_key(), false};
}

WallTime now() {
  return Clock::system().wall();
}

SigningConfig signing(std::size_t bytes = 32) {
  SigningConfig config;
  config.keys = {{"v1", std::string(bytes, 'k')}, {"v2", std::string(32, 'l')}};
  config.active_key = "v2";
  return config;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("security: TLS that is right is told with its version, its hosts and its end") {
  const TlsRedis redis(assets(), "yes");
  const auto finding = judge_tls(redis.url(), whole(), now());
  CAPTURE(finding.text);
  CHECK(finding.severity == Severity::ok);
  CHECK(has(finding.text, "TLSv1.3"));
  CHECK(has(finding.text, "is for localhost, until "));
  CHECK(judge_tls("redis://localhost", whole(), now()).skipped);
  CHECK(judge_tls("", whole(), now()).skipped);
}

TEST_CASE(
    "security: a certificate that ends within two weeks is a warning, the server's, ours, the authority's") {
  const TlsRedis redis(assets(), "yes");
  // They end 400 days after they were made.
  const auto near_end = judge_tls(redis.url(), whole(), now() + std::chrono::days{390});
  CAPTURE(near_end.text);
  CHECK(near_end.severity == Severity::warning);
  CHECK(has(near_end.text,
            "the certificate of rediss://localhost:" + std::to_string(redis.port()) + " expires on "));
  CHECK(has(near_end.text, "in 9 days"));
  CHECK(has(near_end.text, "the certificate in STEM_TLS_CLIENT_CERT"));
  CHECK(has(near_end.text, "the authority 'Stem local authority' in STEM_TLS_CA_CERT"));
  CHECK(has(near_end.fix, "renew it on the server"));
  CHECK(judge_tls(redis.url(), whole(), now() + std::chrono::days{384}).severity == Severity::ok);
}

TEST_CASE("security: without the check, what it would say is told") {
  const TlsRedis redis(assets());
  auto config = whole();
  config.allow_insecure = true;
  CHECK(has(judge_tls(redis.url(), config, now()).text, "would pass the check"));
  config.ca_cert.clear();
  const auto finding = judge_tls(redis.url(), config, now());
  CHECK(finding.severity == Severity::warning);
  CHECK(has(finding.text, "STEM_TLS_ALLOW_INSECURE is on, and without it: "));
  CHECK(has(finding.text, "authority that is not trusted"));
  CHECK(has(finding.fix, "STEM_TLS_CA_CERT"));
}

TEST_CASE("security: TLS to PostgreSQL is told like that to Redis") {
  const TlsPostgres postgres(assets(), "hostssl all stem all cert map=workers\nhostssl all all all trust");
  const auto finding = judge_tls(postgres.url(), whole(), now());
  CAPTURE(finding.text);
  CHECK(finding.severity == Severity::ok);
  CHECK(has(finding.text, "TLSv1.3"));
  CHECK(has(finding.text, "is for localhost, until "));
  CHECK(has(finding.text, "; ours until "));
  const auto near_end = judge_tls(postgres.url(), whole(), now() + std::chrono::days{390});
  CAPTURE(near_end.text);
  CHECK(near_end.severity == Severity::warning);
  CHECK(has(near_end.text, "the certificate of postgresql://***@localhost:" +
                               std::to_string(postgres.port()) + "/postgres expires on "));
  CHECK(has(near_end.text, "in 9 days"));
  CHECK(has(near_end.text, "the certificate in STEM_TLS_CLIENT_CERT (" + assets().client()));
  CHECK(has(near_end.text, "the authority 'Stem local authority' in STEM_TLS_CA_CERT (" + assets().ca()));
  const auto ended = judge_tls(postgres.url(), whole(), now() + std::chrono::days{401});
  CHECK(ended.severity == Severity::error);
  CHECK(has(ended.text, " expired on "));

  // What the address names itself is called by its own name.
  const auto own =
      postgres.url("localhost", "sslmode=verify-full&sslrootcert=" + assets().ca() +
                                    "&sslcert=" + assets().client() + "&sslkey=" + assets().client_key());
  const auto named = judge_tls(own, {}, now() + std::chrono::days{390});
  CAPTURE(named.text);
  CHECK(has(named.text, "the certificate in sslcert of the address (" + assets().client()));
  CHECK(has(named.text, "in sslrootcert of the address (" + assets().ca()));

  const auto unchecked =
      judge_tls(postgres.url("localhost", "sslmode=require&sslrootcert=/nowhere", "somebody@"), {}, now());
  CHECK(unchecked.severity == Severity::error);  // there is no such role
  const TlsPostgres open(assets());
  const auto any = judge_tls(open.url("localhost", "sslmode=require&sslrootcert=/nowhere"), {}, now());
  CAPTURE(any.text);
  CHECK(any.severity == Severity::warning);
  CHECK(has(any.text, "takes any server for the right one, by its sslmode=require"));
  CHECK(has(any.fix, "sslmode=verify-full"));
  CHECK(judge_tls(open.url(), {}, now()).skipped);
  CHECK(judge_tls(open.plain(), whole(), now()).skipped);
  CHECK(judge_tls("postgresql://localhost/jobs?nonsense=1", whole(), now()).severity == Severity::error);
  auto insecure = whole();
  insecure.allow_insecure = true;
  CHECK(has(judge_tls(open.url(), insecure, now()).text, "would pass the check"));
  insecure.ca_cert.clear();
  CHECK(has(judge_tls(open.url(), insecure, now()).text, "STEM_TLS_ALLOW_INSECURE is on, and without it: "));
  CHECK(has(judge_tls(open.url(), insecure, now()).text, "authority that is not trusted"));
}

TEST_CASE("security: keys that are right, short, only good for verifying, or contradictory") {
  CHECK(judge_signing({}).skipped);
  const auto fine = judge_signing(signing());
  CHECK(fine.severity == Severity::ok);
  CHECK(fine.text == "hmac-sha256, signs with key v2; also takes v1");
  const auto weak = judge_signing(signing(8));
  CHECK(weak.severity == Severity::warning);
  CHECK(weak.text == "key v1 of STEM_SIGNING_KEYS has 8 bytes, and should have 32");
  CHECK(has(weak.fix, "openssl rand"));
  auto lost = signing();
  lost.active_key = "v3";
  CHECK(judge_signing(lost).severity == Severity::error);
  CHECK(has(judge_signing(lost).text, "STEM_SIGNING_ACTIVE_KEY='v3'"));
  CHECK_FALSE(judge_signing(lost).fix.empty());
  SigningConfig verifier;
  verifier.algorithm = "ed25519";
  verifier.public_keys = {{"v1", from_base64("A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=").value()}};
  CHECK(judge_signing(verifier).text == "ed25519, verifies only; takes v1");
}

TEST_CASE("diagnosis: TLS and signatures are checks of a node") {
  const TlsRedis redis(assets(), "yes");
  Rig rig;
  CHECK(rig.of("tls").skipped);
  CHECK(rig.of("signing").skipped);
  rig.s.config->command.clear();
  rig.s.config->broker_url = redis.url();
  rig.s.config->tls = whole();
  rig.s.config->signing = signing();
  CAPTURE(rig.of("tls").text);
  CHECK(rig.of("tls").severity == Severity::ok);
  CHECK_FALSE(rig.of("tls").skipped);
  CHECK(rig.of("broker").severity != Severity::error);  // a machine may be slow
  CHECK(rig.of("signing").text == "hmac-sha256, signs with key v2; also takes v1");
  rig.s.config->tls.client_key = "/nowhere/key.pem";
  CHECK(rig.of("tls").severity == Severity::error);
  CHECK(has(rig.of("tls").text, "STEM_TLS_CLIENT_KEY (/nowhere/key.pem) cannot be read"));
  CHECK_FALSE(rig.of("tls").fix.empty());
}

TEST_CASE("diagnosis and health: TLS to PostgreSQL is a check of a node, and a line") {
  const TlsPostgres postgres(assets(), "hostssl all all all cert map=workers");
  Rig rig;
  rig.s.config->command.clear();
  rig.s.config->broker_url = postgres.url();
  rig.s.config->tls = whole();
  CAPTURE(rig.of("tls").text);
  CHECK(rig.of("tls").severity == Severity::ok);
  CHECK_FALSE(rig.of("tls").skipped);
  Config config;
  config.broker_url = postgres.url("localhost", "timeout=4s");
  config.tls = whole();
  auto all = look_at_dependencies(config, true, now());
  REQUIRE(all.size() == 3);
  CHECK(all[0].finding.severity == Severity::ok);
  CHECK(all[0].address ==
        "postgresql://***@localhost:" + std::to_string(postgres.port()) + "/postgres?timeout=4s");
  CHECK(all[1].component == "tls");
  CHECK(has(all[1].finding.text, "TLSv1.3"));
  CHECK(all[1].finding.severity == Severity::ok);
  config.tls.client_cert = config.tls.client_key = "";
  all = look_at_dependencies(config, true, now());
  for (const auto i : {0, 1}) {
    CHECK(all[i].finding.severity == Severity::error);
    CHECK(has(all[i].finding.text, "asks for a client's certificate"));
    CHECK(has(all[i].finding.fix, "STEM_TLS_CLIENT_CERT"));
  }
}

TEST_CASE("health: each dependency is asked once, with its latency; one that fails takes no other along") {
  const TlsRedis redis(assets(), "yes");
  const TempDir dir;
  Config config;
  config.broker_url = redis.url();
  config.tls = whole();
  config.result_backend_url = "redis://:hunter2@127.0.0.1:1";
  config.schedule_store_url = redis.url();
  const auto all = look_at_dependencies(config, true, now());
  std::vector<std::string> names;
  for (const auto& one : all) names.push_back(one.component);
  CHECK(names == std::vector<std::string>{"broker", "backend", "tls", "signing"});
  CHECK(all[0].finding.severity == Severity::ok);
  REQUIRE(all[0].latency);
  CHECK(*all[0].latency > 0us);
  CHECK(all[1].finding.severity == Severity::error);
  CHECK_FALSE(all[1].latency);
  CHECK_FALSE(all[1].finding.fix.empty());
  CHECK(all[2].finding.severity == Severity::ok);
  CHECK(all[3].finding.skipped);
  const auto json = to_json(all, config.tls);
  CHECK(json[1]["status"] == "error");
  CHECK(json[1]["latencyMs"].is_null());
  CHECK(json[2]["context"]["tls"]["caCertificate"] == assets().ca());
  CHECK(json[3]["status"] == "off");
  CHECK_FALSE(has(json.dump(), "hunter2"));
  CHECK(look_at_dependencies(config, false, now()).size() == 3);

  config = {};
  config.broker_url = "sqlite://" + (dir / "stem.db");
  CHECK(has(look_at_dependencies(config, true, now())[0].finding.text, "made by the first"));
  CHECK_FALSE(std::filesystem::exists(dir / "stem.db"));
  config.broker_url = "rabbit://";
  CHECK(look_at_dependencies(config, true, now())[0].finding.severity == Severity::error);
}
