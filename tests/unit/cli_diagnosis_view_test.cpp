#include "cli/diagnosis_view.hpp"

#include <doctest/doctest.h>

#include <sstream>

using namespace stem;
using namespace stem::cli;

namespace {

Finding nothing(const Subject&) {
  return {};
}
constexpr Check broker{"broker", "BROKER", nothing}, boot{"boot", "UNITS AND DROP-INS", nothing},
    clock_{"clock", "CLOCK AND DISK", nothing}, linger{"linger", "UNITS AND DROP-INS", nothing};

Diagnosis example() {
  Diagnosis diagnosis;
  diagnosis.node = "web-1";
  diagnosis.results = {
      {&broker,
       Finding::error("the queue is gone and nobody knows where it went, not even the one who had it last",
                      "look for it")},
      {&boot, Finding::warning("not started at boot",
                               "`systemctl enable stem-worker@web-1.service`, if it should be")},
      {&clock_, Finding::ok("kept")},
      {&linger, Finding::skip("no user's")}};
  return diagnosis;
}

}  // namespace

TEST_CASE("diagnosis view: the worst first, with what to do; what is fine by name") {
  CHECK(
      diagnosis_text(example(), {}) ==
      "web-1: 1 error, 1 warning; 1 check fine, 1 did not apply\n\n"
      "error    broker: the queue is gone and nobody knows where it went, not even the one who had it last\n"
      "         Fix: look for it\n"
      "         See: BROKER\n"
      "warning  boot: not started at boot\n"
      "         Fix: `systemctl enable stem-worker@web-1.service`, if it should be\n"
      "         See: UNITS AND DROP-INS\n"
      "ok       clock\n"
      "\nThe sections are those of stem-daemonization(7).\n");
}

TEST_CASE("diagnosis view: no line is wider than the terminal, and no word is cut") {
  for (std::size_t columns = 40; columns < 120; ++columns) {
    DiagnosisLook look;
    look.columns = columns;
    look.all = true;
    const auto text = diagnosis_text(example(), look);
    std::istringstream lines(text);
    std::string line;
    std::getline(lines, line);  // the headline is what it is
    while (std::getline(lines, line)) {
      CAPTURE(line);
      CHECK(line.size() <= std::max<std::size_t>(columns, 52));  // the longest word, indented
    }
    CHECK(text.find("stem-worker@web-1.service") != std::string::npos);
  }
}

TEST_CASE("diagnosis view: colours only where they are wanted; with -v all is told") {
  CHECK(diagnosis_text(example(), {}).find('\x1b') == std::string::npos);
  DiagnosisLook look;
  look.colour = look.all = true;
  const auto text = diagnosis_text(example(), look);
  CHECK(text.find("\x1b[1;31merror\x1b[0m    broker") != std::string::npos);
  CHECK(text.find("clock: kept") != std::string::npos);
  CHECK(text.find("linger: no user's") != std::string::npos);
}

TEST_CASE("diagnosis view: a node in good health is a few lines") {
  auto diagnosis = example();
  diagnosis.results.erase(diagnosis.results.begin(), diagnosis.results.begin() + 2);
  CHECK(diagnosis_text(diagnosis, {}) ==
        "web-1: no error, no warning; 1 check fine, 1 did not apply\n\nok       clock\n");
}
