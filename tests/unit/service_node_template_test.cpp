#include <doctest/doctest.h>

#include <stem/error.hpp>

#include "service/command_line.hpp"
#include "service/node_template.hpp"

using stem::Error;
using stem::Exit;
using stem::NodeTemplate;
using stem::split_command;

TEST_CASE("node_template: the marks") {
  NodeTemplate marks{
      .node = "web-1", .host = "box", .started = stem::parse_time("2025-01-02T03:04:05.999Z"), .process = 0};
  CHECK(marks.expand("/run/%n%I.%h.%d.log") == "/run/web-1.box.20250102T030405Z.log");
  marks.process = 2;
  CHECK(marks.expand("%n%I.log") == "web-1-2.log");
  CHECK(marks.expand("100%%") == "100%");
  CHECK(marks.expand("%%n") == "%n");
  CHECK(marks.expand("") == "");
  marks.node = "%h";
  CHECK(marks.expand("%n") == "%h");  // what is filled in is not read again
}

TEST_CASE("node_template: an unknown mark is an error that names the known ones") {
  const NodeTemplate marks = NodeTemplate::now("n");
  for (const char* text : {"/x/%i.log", "%", "a%", "%\n", "%N", "% n"}) {
    CAPTURE(text);
    try {
      marks.expand(text);
      FAIL("accepted");
    } catch (const Error& error) {
      CHECK(error.code() == Exit::config);
      CHECK(std::string(error.what()).find("%n node") != std::string::npos);
      CHECK(std::string(error.what()).find('\n') == std::string::npos);
    }
  }
  CHECK(!marks.host.empty());
  CHECK(marks.expand("%d").size() == 16);
}

TEST_CASE("command_line: words as a shell splits them, without expansion") {
  using Words = std::vector<std::string>;
  CHECK(split_command("/usr/bin/dart run bin/worker.dart") ==
        Words{"/usr/bin/dart", "run", "bin/worker.dart"});
  CHECK(split_command("  a\tb\n c ") == Words{"a", "b", "c"});
  CHECK(split_command("a '' \"\" b") == Words{"a", "", "", "b"});
  CHECK(split_command("a 'x y'\"z w\"q") == Words{"a", "x yz wq"});
  CHECK(split_command("a '\\n' \"\\n\\\"\\$\\\\\" \\\"") == Words{"a", "\\n", "\\n\"$\\", "\""});
  CHECK(split_command("a $HOME `b` * ~ --queues=a,b") ==
        Words{"a", "$HOME", "`b`", "*", "~", "--queues=a,b"});
  CHECK(split_command("a b\\ c") == Words{"a", "b c"});
  CHECK(split_command("a \\\n b") == Words{"a", "b"});
  CHECK(split_command("a#b #c") == Words{"a#b", "#c"});
}

TEST_CASE("command_line: what cannot be meant is refused") {
  const auto refusal = [](std::string_view line) {
    try {
      split_command(line);
    } catch (const Error& error) {
      CHECK(error.code() == Exit::config);
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  CHECK(refusal("a 'b").find("never closed") != std::string::npos);
  CHECK(refusal("a \"b\\\"").find("never closed") != std::string::npos);
  CHECK(refusal("a b\\").find("backslash at the end") != std::string::npos);
  CHECK(refusal("").find("no program") != std::string::npos);
  CHECK(refusal(" \t ").find("no program") != std::string::npos);
  CHECK(refusal("'' b").find("no program") != std::string::npos);
  CHECK(refusal(std::string_view("a\0b", 3)).find("NUL") != std::string::npos);
}
