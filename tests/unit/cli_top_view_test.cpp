#include <doctest/doctest.h>

#include <clocale>

#include "cli/screen_text.hpp"
#include "cli/top_view.hpp"

using namespace stem;
using namespace stem::cli;
using namespace std::chrono_literals;

namespace {

/// Widths of characters are the locale's.
const bool unicode = std::setlocale(LC_CTYPE, "C.UTF-8") != nullptr;

const WallTime start = parse_time("2025-01-02T03:04:05Z");

TopModel model_of(int queues, int workers, const std::string& name = "queue") {
  FleetSample sample{.at = start, .beats = {}, .depths = {}, .paused = {}};
  for (int i = 0; i < queues; ++i)
    sample.depths.push_back({.queue = name + std::to_string(1000 + i),
                             .ready = i,
                             .delayed = 0,
                             .leased = 0,
                             .dead = 0,
                             .oldest_ready = {}});
  for (int i = 0; i < workers; ++i)
    sample.beats.push_back({.node = "node" + std::to_string(1000 + i),
                            .host = "h",
                            .name_space = "stem",
                            .at = start,
                            .interval = 10s,
                            .facts = {{"busy", 2},
                                      {"concurrency", 4},
                                      {"queues", {"default"}},
                                      {"perTask", {{{"task", "task." + std::to_string(i)}, {"done", 5}}}}}});
  TopModel model;
  model.take(sample);
  return model;
}

std::vector<std::string> text_of(const std::vector<TopLine>& lines) {
  std::vector<std::string> all;
  for (const auto& line : lines) {
    std::string text;
    for (const auto& span : line) text += span.text;
    text.erase(text.find_last_not_of(' ') + 1);
    all.push_back(text);
  }
  return all;
}

bool shows(const std::vector<std::string>& lines, const std::string& part) {
  return std::any_of(lines.begin(), lines.end(),
                     [&](const auto& line) { return line.find(part) != std::string::npos; });
}

}  // namespace

TEST_CASE("top screen: whatever its size, no line and no number of lines is larger") {
  REQUIRE(unicode);
  for (const auto& model : {model_of(0, 0), model_of(3, 2), model_of(300, 120),
                            model_of(20, 3, "队列-\xff\x1b[31m-with-a-very-long-name-that-goes-on-and-on-")})
    for (const bool ascii : {false, true})
      for (const bool help : {false, true})
        for (const bool lost : {false, true})
          for (int rows = 0; rows < 45; rows += rows < 12 ? 1 : 11)
            for (int columns = 0; columns < 330; columns += columns < 30 ? 1 : 50) {
              TopView view(ascii);
              const TopNotice notice{.title = "stem top  stem  sqlite:////a/b",
                                     .time = "03:04:05Z",
                                     .lost = lost ? "figures are 5s old: it is away" : "",
                                     .said = {},
                                     .help = help};
              const auto lines = view.draw(model, notice, rows, columns);
              CHECK(static_cast<int>(lines.size()) <= rows);
              for (const auto& line : lines) {
                int width = 0;
                for (const auto& span : line) {
                  width += columns_of(span.text);
                  CHECK(span.text.find('\x1b') == std::string::npos);
                  if (ascii)
                    CHECK(std::all_of(span.text.begin(), span.text.end(),
                                      [](char c) { return c >= 0x20 && c < 0x7f; }));
                }
                CAPTURE(rows);
                CAPTURE(columns);
                CHECK(width <= columns);
              }
            }
}

TEST_CASE("top screen: at the usual size all three tables are there, with the keys below") {
  const auto model = model_of(3, 2);
  TopView view(false);
  const auto lines = text_of(view.draw(
      model, {.title = "stem top", .time = "03:04:05Z", .lost = {}, .said = {}, .help = false}, 24, 80));
  CHECK(lines.size() == 24);
  CHECK(lines.at(0).starts_with("stem top"));
  CHECK(lines.at(0).ends_with("03:04:05Z"));
  CHECK(lines.at(1).starts_with("2 workers"));
  for (const char* part : {"QUEUE", "queue1002", "TASK", "task.1", "WORKER", "node1001", "2/4"})
    CHECK(shows(lines, part));
  CHECK(lines.back().starts_with("q quit"));
}

TEST_CASE(
    "top screen: what is narrow loses columns, the least wanted first, and keeps names and the first "
    "figures") {
  const auto model = model_of(3, 2);
  TopView view(true);
  const auto lines = text_of(view.draw(model, {}, 24, 40));
  CHECK(shows(lines, "QUEUE"));
  CHECK(shows(lines, "READY"));
  CHECK(!shows(lines, "WORKERS"));
  CHECK(!shows(lines, "DELAYED"));
}

TEST_CASE("top screen: a table that is longer than its place follows the selection") {
  auto model = model_of(300, 0);
  TopView view(true);
  auto lines = text_of(view.draw(model, {}, 24, 80));
  CHECK(shows(lines, "queue1000"));
  CHECK(!shows(lines, "queue1299"));
  const int page = view.page();
  CHECK(page > 5);
  model.section(TopModel::queues).select(1000);
  lines = text_of(view.draw(model, {}, 24, 80));
  CHECK(shows(lines, "queue1299"));
  CHECK(!shows(lines, "queue1000"));
  // Up within the page: it does not scroll.
  model.section(TopModel::queues).select(-(page - 1));
  lines = text_of(view.draw(model, {}, 24, 80));
  CHECK(shows(lines, "queue1299"));
  model.section(TopModel::queues).select(-1);
  lines = text_of(view.draw(model, {}, 24, 80));
  CHECK(!shows(lines, "queue1299"));
}

TEST_CASE("top screen: a small one shows the table in focus") {
  auto model = model_of(5, 5);
  TopView view(true);
  auto lines = text_of(view.draw(model, {}, 5, 20));
  CHECK(shows(lines, "QUEUE"));
  CHECK(!shows(lines, "WORKER"));
  model.move_focus(-1);
  lines = text_of(view.draw(model, {}, 5, 20));
  CHECK(shows(lines, "WORKER"));
  CHECK(!shows(lines, "QUEUE"));
}

TEST_CASE("top screen: a lost broker has a line of its own, also on a small screen") {
  const auto model = model_of(3, 2);
  TopView view(true);
  const TopNotice notice{.title = {}, .time = {}, .lost = "figures are 5s old", .said = {}, .help = false};
  CHECK(shows(text_of(view.draw(model, notice, 24, 80)), "figures are 5s old"));
  CHECK(text_of(view.draw(model, notice, 3, 30)).at(0) == "figures are 5s old");
}

TEST_CASE("top screen: the selected row of the table in focus is reversed, and no other") {
  auto model = model_of(3, 2);
  model.section(TopModel::queues).select(1);  // behind `default`, which is served
  TopView view(true);
  std::string reversed;
  for (const auto& line : view.draw(model, {}, 24, 80))
    for (const auto& span : line)
      if (span.style.reverse) reversed += span.text;
  CHECK(reversed.starts_with("queue1000"));
  CHECK(reversed.find("queue1", 1) == std::string::npos);
}

TEST_CASE("screen text: what has no shape becomes a question mark, and other writing stays") {
  REQUIRE(unicode);
  CHECK(harmless("a\x1b[31mb\n", false) == "a?[31mb?");
  CHECK(harmless("\xc2\x9b"
                 "31m",
                 false) == "?31m");  // CSI in one character
  CHECK(harmless("a\xe2\x80\xae"
                 "b",
                 false) == "a?b");                                 // turns the direction
  CHECK(harmless("\xff\xc0\xaf\xed\xa0\x80", false) == "??????");  // no UTF-8
  CHECK(harmless("队列 żółw", false) == "队列 żółw");
  CHECK(harmless("队é", true) == "??");
  CHECK(columns_of("队列") == 4);
  CHECK(columns_of("e\xcc\x81") == 1);  // a combining accent
  CHECK(cut("队列队列", 5, false) == "队列…");
  CHECK(cut("队列队列", 4, true) == "队~");
  CHECK(cut("abc", 3, false) == "abc");
  CHECK(cut("abc", 0, false).empty());
}
