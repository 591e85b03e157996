#include <doctest/doctest.h>

#include <sys/stat.h>

#include "cli/opened_book.hpp"
#include "cli/schedule_file.hpp"
#include "core/id.hpp"
#include "error_of.hpp"
#include "scheduler/schedule_plan.hpp"
#include "storage/open.hpp"
#include "temp_dir.hpp"

using namespace stem;
using namespace stem::cli;
using namespace std::chrono_literals;

namespace {

constexpr auto start = WallTime{std::chrono::sys_days{std::chrono::year{2025} / 1 / 2}};
using Kind = PlannedChange::Kind;
using For = OpenedBook::For;

struct Bench {
  static std::shared_ptr<Store> store_of_its_own() {
    Config config;
    config.broker_url = "memory://plan-" + new_id(Clock::system().wall());
    return open_storage(config).results;
  }
  SchedulePlan plan(const std::string& text, WallTime now = start) {
    return plan_apply(book, read_schedules("f", text), now);
  }
  void apply(const std::string& text, WallTime now = start) { commit(plan(text, now)); }
  void commit(const SchedulePlan& plan) { book.commit(plan.edit); }

  std::shared_ptr<Store> store = store_of_its_own();
  ScheduleBook book{store};
};

const std::string two =
    "- {name: a, task: t, schedule: 'every:5m'}\n- {name: b, task: t, schedule: '@daily', enabled: false}\n";

}  // namespace

TEST_CASE("plan: applying a file twice changes nothing the second time") {
  Bench bench;
  const auto first = bench.plan(two);
  REQUIRE(first.changes.size() == 2);
  CHECK(first.changes[0].kind == Kind::add);
  CHECK(first.changes[0].lines == std::vector<std::string>{"every 5m, task t"});
  CHECK(first.changes[1].lines == std::vector<std::string>{"@daily, task t, disabled"});
  bench.apply(two);
  const auto revision = bench.book.revision();
  const auto again = bench.plan(two, start + 1h);
  CHECK(again.edit.empty());
  CHECK(again.changes[0].kind == Kind::keep);
  bench.book.commit(again.edit);
  CHECK(bench.book.revision() == revision);
}

TEST_CASE("plan: a change is told key by key; only one of the times lets it come into force anew") {
  Bench bench;
  bench.apply(two);
  const auto plan =
      bench.plan("- {name: a, task: u, schedule: 'every:5m', queue: mail, timezone: UTC}\n", start + 1h);
  REQUIRE(plan.changes.size() == 1);
  CHECK(plan.changes[0].kind == Kind::change);
  CHECK(plan.changes[0].lines == std::vector<std::string>{"queue: the default -> mail", "task: t -> u"});
  bench.commit(plan);
  auto booked = bench.book.find("a")->entry;
  CHECK(booked.since == start);
  CHECK(booked.created_at == start);
  CHECK(booked.updated_at == start + 1h);
  bench.apply("- {name: a, task: u, schedule: 'every:10m', queue: mail}\n", start + 2h);
  booked = bench.book.find("a")->entry;
  CHECK(booked.since == start + 2h);
  CHECK(booked.created_at == start);
  CHECK(bench.book.find("b"));  // the file did not name it
}

TEST_CASE("plan: an applied file leaves alone whether a schedule is enabled, unless it says") {
  Bench bench;
  bench.apply(two);
  bench.apply("- {name: b, task: t2, schedule: '@daily'}\n");
  CHECK_FALSE(bench.book.find("b")->entry.enabled);
  bench.apply("- {name: b, task: t2, schedule: '@daily', enabled: true}\n", start + 1h);
  CHECK(bench.book.find("b")->entry.enabled);
  CHECK(bench.book.find("b")->entry.since == start + 1h);
}

TEST_CASE("plan: enabling, disabling and removing name what is not there, and the nearest name") {
  Bench bench;
  bench.apply("- {name: nightly, task: t, schedule: '@daily'}\n");
  const auto failed = error_of([&] { plan_removal(bench.book, {"nigthly"}); });
  CHECK(failed.status == 64);
  CHECK(failed.says("there is no schedule 'nigthly'; did you mean nightly?"));
  CHECK(error_of([&] {
          plan_enabling(bench.book, {"x"}, true, start);
        }).says("`stem schedule list` shows them"));
  CHECK(plan_enabling(bench.book, {"nightly", "nightly"}, true, start).edit.empty());
  bench.commit(plan_enabling(bench.book, {"nightly"}, false, start + 1h));
  CHECK_FALSE(bench.book.find("nightly")->entry.enabled);
  bench.commit(plan_removal(bench.book, {"nightly"}));
  CHECK_FALSE(bench.book.find("nightly"));
}

TEST_CASE("plan: enabling one that has had its one run lets it run once more") {
  Bench bench;
  bench.apply("- {name: a, task: t, schedule: 'every:5m', runOnce: true}\n");
  ScheduleRun run;
  run.begin(bench.book.find("a")->entry);
  run.slot = run.last_slot = start + 5min;
  bench.store->put({{ScheduleBook::run_key("a"), to_wire(run), {}}});
  auto booked = *bench.book.find("a");
  CHECK_FALSE(next_slot(booked.entry, booked.run));
  bench.commit(plan_enabling(bench.book, {"a"}, true, start + 1h));
  booked = *bench.book.find("a");
  CHECK(next_slot(booked.entry, booked.run) == start + 1h + 5min);
}

TEST_CASE("plan: one whose stored form cannot be read is replaced by a file, and refused elsewhere") {
  Bench bench;
  bench.apply(two);
  bench.store->put({{ScheduleBook::entry_key("a"), "{\"v\":9}", {}}});
  CHECK(error_of([&] { require_schedule(bench.book, "a"); }).status == 65);
  bench.apply(two, start + 1h);
  CHECK(require_schedule(bench.book, "a").entry.task == "t");
}

TEST_CASE("opened book: without a store the commands work on a file, whole or not at all") {
  TempDir dir;
  Config config;
  config.schedule_file = dir / "s.json";
  const auto edit = [&](const std::string& text) {
    OpenedBook book(config, For::writing);
    book.commit(plan_apply(*book, read_schedules("f", text), start).edit);
  };
  edit(two);
  const auto written = content_of(config.schedule_file);
  CHECK(read_schedules("s", written).size() == 2);
  edit(two);
  CHECK(content_of(config.schedule_file) == written);
  {
    OpenedBook book(config, For::writing);
    CHECK(book->all().size() == 2);
    const auto second = error_of([&] { OpenedBook other(config, For::writing); });
    CHECK(second.status == 75);
    CHECK(second.says("another command changes the schedules"));
    // Whoever only looks does not wait.
    CHECK(OpenedBook(config, For::reading)->all().size() == 2);
    book.commit(plan_removal(*book, {"a"}).edit);
  }
  CHECK(read_schedules("s", content_of(config.schedule_file)).size() == 1);
  dir.file("s.json", "- name: 5\n");
  CHECK(error_of([&] { OpenedBook book(config, For::writing); }).status == 65);
  config.schedule_file = dir / "none/s.json";
  CHECK(error_of([&] { OpenedBook book(config, For::writing); }).status == 73);
}

TEST_CASE(
    "opened book: a file keeps its mode and its symbolic link, and who reads it writes nothing beside it") {
  TempDir dir;
  std::filesystem::create_directories(dir / "real");
  dir.file("real/s.json", "[]");
  REQUIRE(chmod((dir / "real/s.json").c_str(), 0640) == 0);
  std::filesystem::create_symlink(dir / "real/s.json", dir / "s.json");
  Config config;
  config.schedule_file = dir / "s.json";
  CHECK(OpenedBook(config, For::reading)->all().empty());
  CHECK_FALSE(std::filesystem::exists(dir / "real/s.json.lock"));
  CHECK_FALSE(std::filesystem::exists(dir / "s.json.lock"));
  dir.file("real/s.json.new", "left behind by one who was killed");
  {
    OpenedBook book(config, For::writing);
    book.commit(plan_apply(*book, read_schedules("f", two), start).edit);
  }
  CHECK(std::filesystem::is_symlink(dir / "s.json"));
  CHECK(read_schedules("s", content_of(dir / "real/s.json")).size() == 2);
  struct stat file {};
  REQUIRE(stat((dir / "real/s.json").c_str(), &file) == 0);
  CHECK((file.st_mode & 07777) == 0640);
}
