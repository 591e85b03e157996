// Looking a node up without systemd, and the way from a query to a report.

#include <csignal>

#include "diagnosis_rig.hpp"

using namespace stem;

namespace {

struct Place {
  TempDir dir;
  DiagnosisQuery query;

  Place() {
    query.node = "web-1";
    query.supervisor.kind = SupervisorSettings::Kind::detached;
    query.supervisor.runtime_dir = dir / "run";
    query.supervisor.environment = {{"HOME", dir.path()}, {"PATH", "/usr/bin:/bin"}};
    std::filesystem::create_directory(dir / "run");
  }
};

const Finding& of(const Diagnosis& diagnosis, const std::string& id) {
  for (const auto& one : diagnosis.results)
    if (one.check->id == id) return one.finding;
  FAIL("no check " << id);
  return diagnosis.results.front().finding;
}

}  // namespace

TEST_CASE("survey: what a node was started with is remembered, and files go over variables") {
  Place place;
  NodeRecord record;
  record.options.command = "/bin/true";
  record.options.env_file =
      place.dir.file("node.env", "STEM_BROKER_URL=memory://file\nSTEM_LOG_LEVEL=debug\n");
  record.pidfile = place.dir / "run/web-1.pid";
  record.logfile = place.dir / "web-1.log";
  const NodeRecords records(place.query.supervisor.runtime_dir);
  const auto ours = records.lock("web-1");
  records.write("web-1", record);
  place.query.supervisor.environment["STEM_BROKER_URL"] = "memory://variable";
  const auto s = survey(place.query);
  CHECK_FALSE(s.unit);
  REQUIRE(s.config);
  CHECK(s.config->command == "/bin/true");
  CHECK(s.config->broker_url == "memory://file");
  CHECK(s.pidfile == record.pidfile);
  CHECK(s.logfile == record.logfile);
  CHECK(s.account->user == geteuid());
  CHECK_FALSE(s.running());

  place.query.env_file = place.dir.file("last.env", "STEM_BROKER_URL=memory://last\n");
  place.query.pidfile = place.dir / "other.pid";
  place.query.logfile = place.dir / "other.log";
  const auto asked = survey(place.query);
  CHECK(asked.config->broker_url == "memory://last");
  CHECK(asked.pidfile == place.dir / "other.pid");
  CHECK(asked.logfile == place.dir / "other.log");
}

TEST_CASE("survey: templates are expanded for the node, and one with a time in it is not guessed at") {
  Place place;
  place.query.supervisor.environment["STEM_WORKER_PIDFILE"] = "/run/%n.pid";
  place.query.supervisor.environment["STEM_WORKER_LOGFILE"] = "/log/%n-%d.log";
  const auto s = survey(place.query);
  CHECK(s.pidfile == "/run/web-1.pid");
  CHECK(s.logfile.empty());
}

TEST_CASE("survey: credentials go over files, and are told of") {
  Place place;
  place.dir.file("stem.broker-url", "memory://secret\n");
  place.query.supervisor.environment["CREDENTIALS_DIRECTORY"] = place.dir.path();
  place.query.env_file = place.dir.file("node.env", "STEM_BROKER_URL=memory://file\n");
  const auto s = survey(place.query);
  CHECK(s.config->broker_url == "memory://secret");
  CHECK(s.from_credentials == std::vector<std::string>{"STEM_BROKER_URL"});
}

TEST_CASE("survey: a configuration that cannot be read is a finding, and the rest is looked at") {
  Place place;
  place.query.env_file = place.dir.file("node.env", "STEM_WORKER_CONCURRENCY=many\n");
  const auto diagnosis = diagnose(survey(place.query));
  CHECK(of(diagnosis, "settings").severity == Severity::error);
  CHECK(of(diagnosis, "settings").text ==
        "STEM_WORKER_CONCURRENCY='many': must be a whole number from 1 to 1024");
  CHECK(of(diagnosis, "broker").skipped);
  CHECK(of(diagnosis, "runtime-directory").severity == Severity::ok);
  CHECK(of(diagnosis, "worker").text.find("unit") == std::string::npos);  // no systemd is asked for
  CHECK(diagnosis.worst() == Severity::error);
}

TEST_CASE("survey: a worker that runs is found with its pidfile and its socket") {
  Place place;
  StandIn worker(place.dir / "run/web-1.pid", place.dir / "run/web-1.sock");
  const auto s = survey(place.query);
  CHECK(s.health.pid == worker.pid());
  CHECK(s.pidfile == place.dir / "run/web-1.pid");
  CHECK(of(diagnose(s), "pidfile").severity == Severity::ok);
  CHECK(of(diagnose(s), "control-socket").severity == Severity::ok);
}

TEST_CASE("diagnosis: the worst comes first, and JSON has everything") {
  Rig rig;
  rig.s.clock_synchronised = false;
  rig.s.unit->type = "simple";
  const auto diagnosis = diagnose(rig.s);
  CHECK(diagnosis.results[0].check->id == "readiness");
  const auto json = to_json(diagnosis);
  CHECK(json["node"] == "web-1");
  CHECK(json["unit"] == "stem-worker@web-1.service");
  CHECK(json["supervisor"] == "systemd");
  CHECK(json["status"] == "error");
  CHECK(json["errors"] == 1);
  CHECK(json["checks"].size() == all_checks().size());
  CHECK(json["checks"][0] == Json{{"id", "readiness"},
                                  {"status", "error"},
                                  {"skipped", false},
                                  {"section", "UNITS AND DROP-INS"},
                                  {"finding", diagnosis.results[0].finding.text},
                                  {"fix", diagnosis.results[0].finding.fix}});
  CHECK(json["checks"].back()["status"] == "ok");
  CHECK(json["checks"].back()["fix"].is_null());
}

TEST_CASE("diagnosis: no finding repeats a password, wherever one stands") {
  Rig rig;
  const std::string url = "redis://app:hunter2@cache/0?password=hunter2";
  rig.s.config->broker_url = rig.s.config->result_backend_url = url;
  rig.s.config->command = "/bin/true " + url;
  rig.s.environment = {{"STEM_BROKER_URL", url}, {"STEM_RESULT_BACKEND_URL", url}, {"STEM_BROKR_URL", url}};
  rig.s.unit->environment = {"STEM_BROKER_URL=" + url};
  rig.s.unit->exec_start.push_back(url);
  rig.s.unit->facts.status_text = "waits for " + url;
  rig.s.unit->facts.active_state = "activating";
  rig.s.health.ok = false;
  rig.s.health.error = "cannot reach " + url;
  std::ofstream(rig.s.env_files[0].path)
      << "STEM_BROKER_URL: " << url << "\n";  // a colon for the equals sign
  rig.s.manager_error = "for " + url;
  CHECK(to_json(diagnose(rig.s)).dump().find("hunter2") == std::string::npos);
  rig.s.config.reset();
  rig.s.config_error = url;
  CHECK(to_json(diagnose(rig.s)).dump().find("hunter2") == std::string::npos);
}

TEST_CASE("diagnosis: ids are unique, and every check names a section") {
  std::vector<std::string_view> ids;
  for (const auto* check : all_checks()) {
    CHECK(std::find(ids.begin(), ids.end(), check->id) == ids.end());
    ids.push_back(check->id);
    CHECK_FALSE(check->section.empty());
  }
}
