#include <doctest/doctest.h>

#include "cli/fleet_view.hpp"

using namespace stem;
using namespace stem::cli;
using Kind = FleetAnswer::Kind;

namespace {

FleetAnswer answer(const std::string& node, Kind kind, Json payload = Json::object(),
                   const std::string& error = {}) {
  return {.node = node,
          .host = kind == Kind::absent ? "" : "h",
          .kind = kind,
          .payload = std::move(payload),
          .error = error,
          .took = std::chrono::milliseconds{2}};
}

std::vector<std::string> pid(const FleetAnswer& one) {
  return {number_cell(one.payload, "pid")};
}

}  // namespace

TEST_CASE("fleet view: only if each worker has done it, all is well") {
  CHECK(status_of({answer("a", Kind::done), answer("b", Kind::done)}, 1) == 0);
  for (const auto kind : {Kind::refused, Kind::silent, Kind::ended, Kind::absent})
    CHECK(status_of({answer("a", Kind::done), answer("b", kind)}, 0) == 1);
  CHECK(status_of({}, 1) == 1);
  CHECK(status_of({}, 0) == 0);
}

TEST_CASE("fleet view: a row for each worker, reasons only where there are some") {
  CHECK(answers_table({answer("a", Kind::done, {{"pid", 7}})}, "stem", {"PID"}, pid) ==
        "WORKER  HOST  STATUS  PID\na       h     ok        7\n");
  CHECK(answers_table(
            {answer("a", Kind::done, {{"pid", 7}}), answer("b", Kind::silent, Json::object(), "no answer"),
             answer("c", Kind::absent, Json::object(), "gone")},
            "stem", {"PID"}, pid) ==
        "WORKER  HOST  STATUS     PID  REASON\n"
        "a       h     ok           7\n"
        "b       h     no answer    -  no answer\n"
        "c       -     absent       -  gone\n");
  CHECK(answers_table({}, "shop", {"PID"}, pid) == "no worker of namespace shop lives\n");
}

TEST_CASE("fleet view: what a worker says may be anything, and does not disturb the terminal") {
  const Json odd{{"text", "a\x1b[31m\nb"},
                 {"list", {"x", 1, "y\tz"}},
                 {"length", -5},
                 {"bytes", "many"},
                 {"number", 1.5}};
  CHECK(text_cell(odd, "text") == "a[31mb");
  CHECK(list_cell(odd, "list") == "x,y z");
  CHECK(text_cell({{"text",
                    "\xc2\x9b"
                    "31m \xc3\xa9\xc2\xa0\xc2"}},
                  "text") == "31m \xc3\xa9\xc2\xa0\xc2");  // CSI in one character
  CHECK(list_cell(odd, "text") == "-");
  CHECK(length_cell(odd, "length") == "0.0s");
  CHECK(bytes_cell(odd, "bytes") == "-");
  CHECK(number_cell(odd, "number") == "-");
  CHECK(text_cell(odd, "none") == "-");
  const auto json =
      Json::parse(answers_json({answer("a", Kind::refused, odd, "bad \xff"), answer("b", Kind::absent)}));
  CHECK(json.at(0).at("status") == "error");
  CHECK(json.at(0).at("tookMs") == 2.0);
  CHECK(json.at(1).at("host").is_null());
  CHECK(json.at(1).at("tookMs").is_null());
}
