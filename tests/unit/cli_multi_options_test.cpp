#include <doctest/doctest.h>

#include <stem/error.hpp>

#include "cli/commands.hpp"
#include "cli/worker_multi_options.hpp"
#include "temp_dir.hpp"
#include "worker/module.hpp"

using namespace stem;
using namespace stem::cli;
using Words = std::vector<std::string>;

namespace {

MultiOptions parse(Words words) {
  CLI::App app;
  MultiOptions options;
  add_multi_options(app, options);
  words = prepare_worker_multi(std::move(words));
  std::reverse(words.begin(), words.end());
  app.parse(std::move(words));
  return options;
}

std::vector<NodeRequest> requests(const Words& words) {
  const auto options = parse(words);
  check_multi_options(options);
  return requests_of(options, named_nodes(options, {}), {}, {});
}

void refused(const Words& words, const char* why) {
  CHECK_THROWS_WITH_AS(requests(words), doctest::Contains(why), Error);
}

}  // namespace

TEST_CASE("multi options: what is said for nodes of a name holds for those, over what is said for all") {
  const auto all = requests({"start", "web-1", "web-2", "mail", "-c", "4", "-c:web-1", "8", "-q:web-*",
                             "fast,api", "--queue:mail=post", "--command", "/bin/w"});
  REQUIRE(all.size() == 3);
  CHECK(all[0].options.concurrency == 8);
  CHECK(all[1].options.concurrency == 4);
  CHECK(all[2].options.concurrency == 4);
  CHECK(all[0].options.queues == Words{"fast", "api"});
  CHECK(all[1].options.queues == Words{"fast", "api"});
  CHECK(all[2].options.queues == Words{"post"});
  CHECK(all[2].options.command == "/bin/w");
}

TEST_CASE("multi options: a pool of processes for some of the nodes, with limits") {
  const auto all = requests({"start", "a", "b", "--pool:a=processes", "--max-tasks-per-child:a", "7",
                             "--max-memory-per-child:a", "200000", "--command", "/bin/w"});
  CHECK(all[0].options.pool == "processes");
  CHECK(all[0].options.max_tasks_per_child == 7);
  CHECK(all[0].options.max_memory_per_child == "200000");
  CHECK(all[1].options.pool.empty());
  refused({"start", "a", "--pool:a", "fibers"}, "neither threads nor processes");
  refused({"start", "a", "--max-tasks-per-child:a", "0"}, "no number from 1");
  refused({"start", "a", "--max-memory-per-child:a", "5T"}, "amount of memory");
}

TEST_CASE("multi options: of patterns that fit one node the later wins, and one pattern adds up") {
  const auto all =
      requests({"start", "web-1", "-q:web-*", "a", "-q:web-1", "b", "-q:web-*", "c", "-c:*", "2", "-c:web-?",
                "3", "--property:web-1", "Nice=5", "--property:web-1", "MemoryMax=1G"});
  CHECK(all[0].options.queues == Words{"b"});
  CHECK(all[0].options.concurrency == 3);
  CHECK(all[0].options.properties == Words{"Nice=5", "MemoryMax=1G"});
  CHECK(requests({"start", "x", "-q:x", "a", "-q:x", "b"})[0].options.queues == Words{"a", "b"});
}

TEST_CASE("multi options: several names, separated by commas, and a program for one node") {
  const auto all =
      requests({"start", "a", "b", "c", "-A", "/all.so", "-c:a,c", "9", "--command:b", "x --y=z:1"});
  CHECK(all[0].options.concurrency == 9);
  CHECK(all[1].options.concurrency == 0);
  CHECK(all[2].options.concurrency == 9);
  CHECK(all[1].options.command == "x --y=z:1");
  CHECK(all[1].options.apps.empty());
  CHECK(all[2].options.apps == Words{"/all.so"});
}

TEST_CASE("multi options: a value with a colon is no name") {
  CHECK(requests({"start", "a", "--command=/bin/sh -c 'x:y'"})[0].options.command == "/bin/sh -c 'x:y'");
  CHECK(requests({"start", "a:b", "-c", "3"})[0].node == "a:b");
  CHECK(named_nodes(parse({"start", "--", "a"}), {}) == Words{"a"});
}

TEST_CASE("multi options: a name that no node has, and what cannot be said for one, is refused") {
  refused({"start", "a", "-c:b", "3"}, "no node of this call is called 'b'");
  refused({"start", "a", "-c:a", "none"}, "no number from 1 to 1024");
  refused({"start", "a", "-c:a", "0"}, "no number from 1 to 1024");
  refused({"start", "a", "--timeout:a", "3s"}, "cannot be said for nodes of a name");
  refused({"start", "a", "-q:a", "../x"}, "queue");
  refused({"start", "a", "--property:a", "User=root"}, "whom the worker runs as");
  refused({"start", "a", "--env-file:a", "/nowhere.env"}, "/nowhere.env");
  CHECK_THROWS_WITH_AS(prepare_worker_multi({"start", "a", "-c:a"}), doctest::Contains("needs a value"),
                       Error);
  CHECK_THROWS_WITH_AS(prepare_worker_multi({"start", "a", "-c:", "3"}), doctest::Contains("names no node"),
                       Error);
}

TEST_CASE(
    "multi options: a bare module name is an installed module, else a file here, and nodes get a whole "
    "path") {
  TempDir directory;
  directory.file("libthere.so", "");
  CHECK(module_path("libthere.so", directory.path()) == directory / "libthere.so");
  CHECK(module_path("libnone.so", directory.path()) == "./libnone.so");
  CHECK(module_path("./libthere.so", directory.path()) == "./libthere.so");
  CHECK(requests({"start", "a", "-A", "libnone.so"})[0].options.apps ==
        Words{(std::filesystem::current_path() / "libnone.so").string()});
}

TEST_CASE("multi options: ranges are the shell's, and a shell that has none is told of") {
  refused({"start", "web-{1..4}"}, "ranges are the shell's");
}

TEST_CASE("multi options: what an action does not take is refused by name") {
  refused({"stop", "a", "-c", "2"}, "belong to start, restart and enable");
  refused({"reload", "a", "-c:a", "2"}, "belong to start, restart and enable");
  refused({"status", "--no-block"}, "belong to start, stop, restart and reload");
  refused({"logs", "a", "--timeout", "1s"}, "belong to start, stop, restart and reload");
  refused({"start", "a", "--rolling"}, "belongs to restart");
  refused({"restart", "a", "--rolling", "--no-block"}, "excludes --no-block");
  refused({"start", "a", "-f"}, "belong to logs");
  refused({"start", "a", "-n", "3"}, "belong to logs");
  refused({"stop", "a", "--all"}, "not both");
  refused({"logs"}, "no node is named");
}

TEST_CASE("multi options: how many lines of the past") {
  CHECK(log_query(parse({"logs", "a"})).last == 100);
  CHECK(log_query(parse({"logs", "a", "-f"})).last == 10);
  CHECK(log_query(parse({"logs", "a", "-n", "0"})).last == 0);
  CHECK_FALSE(log_query(parse({"logs", "a", "-n", "all"})).last);
  CHECK_THROWS_WITH_AS(log_query(parse({"logs", "a", "-n", "-1"})), doctest::Contains("no number"), Error);
}
