#include <doctest/doctest.h>

#include <stem/error.hpp>

#include "error_of.hpp"
#include "temp_dir.hpp"
#include "worker/engine_options.hpp"
#include "worker/routing_file.hpp"

using namespace stem;
using namespace std::chrono_literals;

namespace {

constexpr auto full = R"(
default_queue: {alias: main, queue: web}
queues:
  web:
  mail: {priority_range: [2, 7]}
  bulk: {priority_range: {min: 0, max: 3}}
broadcasts:
  caches: {ttl: 5m}
  plain:
routes:
  - match: {task: "mail.*", headers: {tenant: big}}
    target: {type: queue, name: mail}
    priority_override: 9
  - match: {task: ["report.?", "export.*"], queue_override: main}
    target: {name: bulk}
  - match: {task: cache.flush}
    target: {type: broadcast, name: caches}
  - match: {queue_override: old}
    target: {type: queue, name: default}
)";

Routing routing_in(const std::string& text) {
  return read_routing("r.yaml", text, "default").routing;
}

/// What is said of a file that is refused.
std::string refused(const std::string& text) {
  const auto failed = error_of([&] { read_routing("r.yaml", text, "default"); });
  CHECK(failed.status == 78);
  return failed.message;
}

std::string way(const Routing& routing, const std::string& task, const std::string& queue = "",
                int priority = 5, const std::map<std::string, std::string>& headers = {}) {
  const auto to = routing.destination(task, headers, queue, priority);
  return (to.to_everyone ? "all " : "") + to.name + " " + std::to_string(to.priority);
}

}  // namespace

TEST_CASE(
    "routing: the first route whose every criterion fits is taken, and priorities are brought into the "
    "queue's range") {
  const auto routing = routing_in(full);
  CHECK(way(routing, "mail.send", "", 5, {{"tenant", "big"}, {"x", "y"}}) == "mail 7");
  CHECK(way(routing, "mail.send", "", 5, {{"tenant", "small"}}) == "web 5");
  CHECK(way(routing, "mail", "", 5, {{"tenant", "big"}}) == "web 5");
  CHECK(way(routing, "mail.a.b", "", 5, {{"tenant", "big"}}) == "mail 7");  // a star does not stop at a dot
  CHECK(way(routing, "report.a", "web") == "bulk 3");
  CHECK(way(routing, "report.a") == "web 5");  // no queue was asked for
  CHECK(way(routing, "report.ab", "web") == "web 5");
  CHECK(way(routing, "export.all", "main", 1) == "bulk 1");
  CHECK(way(routing, "cache.flush", "mail") == "all caches 5");
  CHECK(routing.destination("cache.flush", {}, "", 0).ttl == 5min);
  CHECK(routing.broadcasts.at("plain") == 1h);
}

TEST_CASE(
    "routing: a job that fits no route goes where it wants to, by name or alias, or into the default queue") {
  const auto routing = routing_in(full);
  CHECK(way(routing, "t") == "web 5");
  CHECK(way(routing, "t", "main") == "web 5");
  CHECK(way(routing, "t", "default") == "web 5");
  CHECK(way(routing, "t", "mail", 0) == "mail 2");
  CHECK(way(routing, "t", "unheard-of", 9) == "unheard-of 9");
  CHECK(way(routing, "t", "old", 4) == "web 4");
  CHECK(way(Routing{}, "t") == "default 5");
  CHECK(way(routing_in(""), "t", "other", 0) == "other 0");
}

TEST_CASE("routing: what is written is read back as the same, and JSON and camel case are read, too") {
  const auto routing = routing_in(full);
  CHECK(routing_in(to_yaml(routing)) == routing);
  CHECK(routing_in(to_yaml(Routing{})).default_queue == "default");
  const auto json = routing_in(
      R"({"defaultQueue": {"alias": "main", "queue": "web"}, "queues": {"web": {"priorityRange": {"min": 1, "max": 2}}},
          "routes": [{"match": {"task": "a", "queueOverride": "x"}, "target": {"type": "queue", "name": "web"}, "priorityOverride": 0}]})");
  CHECK(json.queues.at("web") == PriorityRange{1, 2});
  CHECK(way(json, "a", "x") == "web 1");
}

TEST_CASE("routing: each mistake is named with file and line") {
  CHECK(refused("queues: {a: }\n") == "r.yaml:1: the default queue 'default' is not among `queues`");
  CHECK(refused("default_queue: b\nqueues:\n  a:\n") ==
        "r.yaml:1: the default queue 'b' is not among `queues`");
  CHECK(refused("queue: {}\n") == "r.yaml:1: unknown key 'queue' in a routing file; did you mean queues?");
  CHECK(refused("queues:\n  default:\n    priority_range: [3, 12]\n") ==
        "r.yaml:3: a priority is a number from 0 to 9, not '12'");
  CHECK(refused("queues:\n  default:\n    priority_range: 0-9\n") ==
        "r.yaml:3: priority_range is [LOWEST, HIGHEST]");
  CHECK(refused("queues:\n  default:\n    priority_range: [7, 2]\n") ==
        "r.yaml:3: priority_range begins above its end");
  CHECK(refused("queues:\n  default:\n  ../etc:\n").starts_with("r.yaml:3: bad queue name '../etc'"));
  CHECK(refused("queues:\n  default:\n  default:\n") == "r.yaml:3: key 'default' is there twice");
  CHECK(refused("routes:\n  - match: {task: a}\n    target: {type: queue, name: critcal}\n") ==
        "r.yaml:3: queue 'critcal' is not among `queues`");
  CHECK(refused("routes:\n  - match: {task: a}\n    target: {type: broadcast, name: x}\n") ==
        "r.yaml:3: broadcast 'x' is not among `broadcasts`");
  CHECK(refused("routes:\n  - match: {task: a}\n    target: {type: topic, name: x}\n") ==
        "r.yaml:3: type is queue or broadcast, not 'topic'");
  CHECK(refused("routes:\n  - match: {task: a}\n") == "r.yaml:2: a route has no `target`");
  CHECK(refused("routes:\n  - match: {task: []}\n    target: {name: default}\n")
            .starts_with("r.yaml:2: task is a pattern or a list"));
  CHECK(refused("routes: {}\n") == "r.yaml:1: routes must be a list");
  CHECK(refused("- a\n") == "r.yaml:1: a routing file must be a map");
  CHECK(refused("broadcasts:\n  x: {ttl: soon}\n").starts_with("r.yaml:2: ttl: "));
  CHECK(refused("broadcasts:\n  x: {ttl: 0s}\n") == "r.yaml:2: ttl must be above 0");
  CHECK(refused("broadcasts:\n  x: {delivery: exactly-once}\n") ==
        "r.yaml:2: delivery is at-least-once; there is no other");
  CHECK(refused("default_queue: {alias: a}\n") == "r.yaml:1: default_queue has no `queue`");
  CHECK(refused("a: [\n").starts_with("r.yaml:"));
  CHECK(refused("a: 1\n---\nb: 2\n") ==
        "r.yaml:2: not YAML: a second document begins here; there is to be one");
  CHECK(refused("queues:\n  \xff: \n") == "r.yaml:2: not YAML: this line is not text in UTF-8");
  CHECK(refused(",a: b\n").starts_with("r.yaml:1: not YAML: "));
  CHECK(refused("routes: &a [*a]\n").starts_with("r.yaml:1: "));
  CHECK(refused("version: 2\n") == "r.yaml:1: version must be 1; this Stem reads no other");
  CHECK(refused("default_queue: [a]\n") == "r.yaml:1: a single word is expected here");
}

TEST_CASE("routing: what other brokers need is left out with a warning, not without a word") {
  const auto read = read_routing(
      "r.yaml", "queues:\n  default:\n    exchange: jobs\n    priority_range: [1, 2]\n", "default");
  CHECK(read.warnings == std::vector<std::string>{"r.yaml:3: exchange means nothing to Stem's brokers"});
  CHECK(read.routing.queues.at("default") == PriorityRange{1, 2});
}

TEST_CASE("routing: the file that the configuration names is read, and one that is missing is an error") {
  TempDir dir;
  Config config;
  config.default_queue = "other";
  CHECK(routing_of(config).routing.default_queue == "other");
  config.routing_file = dir / "routing.yaml";
  const auto missing = error_of([&] { routing_of(config); });
  CHECK(missing.status == 66);
  CHECK(missing.says("STEM_ROUTING_CONFIG"));
  dir.file("routing.yaml", full);
  CHECK(routing_of(config).routing == routing_in(full));
  CHECK(engine_options(config).queues == std::vector<std::string>{"web"});
  config.queues = {"main", "mail", "unheard-of"};
  CHECK(engine_options(config).queues == std::vector<std::string>{"web", "mail", "unheard-of"});
}
