#include <doctest/doctest.h>

#include "cli/schedule_file.hpp"
#include "error_of.hpp"

using namespace stem;
using namespace stem::cli;

namespace {

Failed file_refused(const std::string& text) {
  return error_of([&] { read_schedules("s.yaml", text); });
}

}  // namespace

TEST_CASE("schedule file: YAML and JSON, as a list or an object, say the same") {
  const std::string yaml =
      "version: 1\nschedules:\n  - name: nightly   # a comment\n    task: db.vacuum\n    schedule: '0 4 * * "
      "*'\n    timezone: Europe/Berlin\n"
      "    args: {deep: true, size: 1.5, text: \"1\", none: ~, list: [1, two]}\n  - {id: tick, taskName: t, "
      "spec: 'every:5s', enabled: false}\n";
  const std::string json =
      R"([{"name":"nightly","task":"db.vacuum","schedule":"0 4 * * *","timezone":"Europe/Berlin",
           "args":{"deep":true,"size":1.5,"text":"1","none":null,"list":[1,"two"]}},
          {"name":"tick","task":"t","schedule":{"kind":"interval","every":"5s"},"enabled":false}])";
  const auto a = read_schedules("a", yaml), b = read_schedules("b", json);
  REQUIRE(a.size() == 2);
  REQUIRE(b.size() == 2);
  for (std::size_t i = 0; i < 2; ++i) CHECK(to_wire(a[i].entry) == to_wire(b[i].entry));
  CHECK(a[0].line == 3);
  CHECK(a[1].line == 8);
  CHECK_FALSE(a[0].says_enabled);
  CHECK(a[1].says_enabled);
  CHECK(a[0].entry.args["text"] == "1");
  CHECK(read_schedules("c", "[]").empty());
  CHECK(read_schedules("d", "entries: []").empty());
}

TEST_CASE("schedule file: an error names file, line and schedule") {
  CHECK(file_refused("- name: a\n  task: t\n  schedule: '61 * * * *'\n")
            .message.starts_with("s.yaml:3: schedule 'a': cron field minute '61'"));
  CHECK(file_refused("- name: a\n  task: t\n  schedule: '@daily'\n  queu: x\n")
            .message.starts_with("s.yaml:4: schedule 'a': unknown key 'queu'"));
  CHECK(file_refused("- name: a\n  task: t\n  schedule: '@daily'\n- task: u\n")
            .message.starts_with("s.yaml:4: schedule 2: the key 'name' is missing"));
  CHECK(
      file_refused("- name: a\n  task: t\n  schedule: '@daily'\n- name: a\n  task: t\n  schedule: '@daily'\n")
          .message.starts_with("s.yaml:4: schedule 'a': the name is taken, by line 1"));
  CHECK(file_refused("- name: a\n  task: t\n  schedule: '@daily'\n  timezone: Europe/Berlim\n")
            .message.starts_with("s.yaml:4: schedule 'a': 'Europe/Berlim' is not a time zone"));
  CHECK(file_refused("- name: a\n  name: b\n")
            .message.starts_with("s.yaml:2: schedule 'a': key 'name' is there twice"));
  CHECK(file_refused("- [\n").message.starts_with("s.yaml:"));
  CHECK(file_refused("- [\n").says("not readable as YAML or JSON"));
  CHECK(file_refused("").says("the file is empty"));
  CHECK(file_refused("text").says("expected a list of schedules"));
  CHECK(file_refused("version: 2\nschedules: []\n").says("version must be 1"));
  CHECK(file_refused("schedule: []\n").says("unknown key 'schedule'"));
  CHECK(file_refused("version: 1\n").says("the key `schedules` is missing"));
  CHECK(file_refused("schedules: 5\n").says("must be a list"));
  CHECK(file_refused("schedules: []\nentries: []\n").says("already"));
  CHECK(file_refused("[]\n---\n[]\n").says("a second document begins here"));
  CHECK(file_refused("- 5\n").says("a schedule is an object"));
  CHECK(file_refused("- <<: {a: 1}\n").says("merge keys"));
  CHECK(file_refused("- ? [a]\n  : b\n").says("a key must be text"));
}

TEST_CASE("schedule file: plain values are those of YAML 1.2's core schema, and none is changed silently") {
  const auto value = [](const std::string& text) {
    return read_schedules("s.yaml", "- {name: a, task: t, schedule: '@daily', args: {x: " + text + "}}\n")[0]
        .entry.args["x"];
  };
  CHECK(value("18446744073709551615") == 18446744073709551615ULL);
  CHECK(value("18446744073709551615").is_number_unsigned());
  CHECK(value("-9223372036854775808") == INT64_MIN);
  CHECK(value("+12") == 12);
  CHECK(value("012") == 12);
  CHECK(value("0x1F") == 31);
  CHECK(value("0o17") == 15);
  CHECK(value("-1.5e3") == -1500.0);
  CHECK(value(".5") == 0.5);
  CHECK(value("1.") == 1.0);
  CHECK(value("1.0").is_number_float());
  CHECK(value("1e3") == 1000.0);
  for (const char* text :
       {"yes", "-",   "--1",  "+-1", "-x",  "1_000",     "1e",    "1e+",   ".",    "-.",   "0x",  "0xg",
        "0o8", "0b1", "-inf", "inf", "nan", "-infinity", "12:30", "1.2.3", "-0x1", "NuLL", "tRUE"})
    CHECK(value(text) == text);
  CHECK(value("'1'") == "1");
  const auto refused = [](const std::string& text) {
    return file_refused("- name: a\n  task: t\n  schedule: '@daily'\n  args:\n    x: " + text + "\n");
  };
  CHECK(refused(".inf").message.starts_with("s.yaml:5: schedule 'a': the number '.inf' is infinite"));
  CHECK(refused("-.Inf").says("put it in quotes if it is text"));
  CHECK(refused(".nan").says("is none, which JSON cannot say"));
  CHECK(refused("18446744073709551616").says("does not fit into 64 bits"));
  CHECK(refused("-9223372036854775809").says("does not fit into 64 bits"));
  CHECK(refused("0xFFFFFFFFFFFFFFFFF").says("does not fit into 64 bits"));
  CHECK(refused("1e999").says("is too large or too small"));
}

TEST_CASE(
    "schedule file: aliases that multiply, a value that holds itself, and endless nesting come to an end") {
  const std::string head = "- name: b\n  task: t\n  schedule: '@daily'\n  args:\n";
  std::string bomb = head + "    a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 10; ++i) {
    bomb += "    a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int n = 0; n < 10; ++n) bomb += (n ? "," : "") + ("*a" + std::to_string(i - 1));
    bomb += "]\n";
  }
  CHECK(file_refused(bomb).says("too many values"));
  CHECK(file_refused(head + "    x: &a [*a]\n").says("nested too deeply"));
  CHECK(file_refused(head + "    x: " + std::string(300, '[') + std::string(300, ']') + "\n")
            .says("nested too deeply"));
  CHECK(file_refused(head + "    x: " + std::string(100000, '[') + "\n").status == 65);
}
