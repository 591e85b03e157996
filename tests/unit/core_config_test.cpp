#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <stem/config.hpp>
#include <stem/error.hpp>
#include <thread>

#include "core/id.hpp"
#include "core/name.hpp"
#include "core/nearest.hpp"

using namespace stem;
using namespace std::chrono_literals;

namespace {

std::string refusal(const Environment& environment) {
  try {
    Config::from(environment);
  } catch (const Error& error) {
    CHECK(error.code() == Exit::config);
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("configuration: every variable arrives in its field") {
  const auto config = Config::from({{"STEM_BROKER_URL", "sqlite:///tmp/a.db"},
                                    {"STEM_RESULT_BACKEND_URL", "memory://b"},
                                    {"STEM_RESULT_TTL", "2h"},
                                    {"STEM_DEFAULT_QUEUE", "mail"},
                                    {"STEM_DEFAULT_MAX_RETRIES", "7"},
                                    {"STEM_RETRY_BASE", "1s"},
                                    {"STEM_RETRY_CAP", "1m"},
                                    {"STEM_RETRY_FACTOR", "3"},
                                    {"STEM_RETRY_JITTER", "0.5"},
                                    {"STEM_VISIBILITY_TIMEOUT", "10s"},
                                    {"STEM_MAX_DELIVERIES", "4"},
                                    {"STEM_TASK_SOFT_TIME_LIMIT", "5s"},
                                    {"STEM_TASK_TIME_LIMIT", "6s"},
                                    {"STEM_WORKER_NODE", "web-1"},
                                    {"STEM_WORKER_QUEUES", "mail, reports,mail"},
                                    {"STEM_WORKER_APP", "/a.so:/b.so"},
                                    {"STEM_WORKER_CONCURRENCY", "8"},
                                    {"STEM_PREFETCH_MULTIPLIER", "1"},
                                    {"STEM_DRAIN_LIMIT", "30s"},
                                    {"STEM_WORKER_COMMAND", "/bin/true"},
                                    {"STEM_COMMAND_NOTIFY", "yes"},
                                    {"STEM_WORKER_PIDFILE", "/run/%n.pid"},
                                    {"STEM_WORKER_LOGFILE", "/log/%n.log"},
                                    {"STEM_RUNTIME_DIR", "/run/x"},
                                    {"STEM_LOG_LEVEL", "debug"},
                                    {"STEM_TLS_CA_CERT", "/ca.pem"},
                                    {"STEM_TLS_CLIENT_CERT", "/client.pem"},
                                    {"STEM_TLS_CLIENT_KEY", "/key.pem"},
                                    {"STEM_TLS_ALLOW_INSECURE", "yes"},
                                    {"STEM_SUPERVISOR", "systemd"},
                                    {"STEMD_NODES", "a b"}});
  CHECK(config.broker_url == "sqlite:///tmp/a.db");
  CHECK(config.result_backend_url == "memory://b");
  CHECK(config.result_ttl == 2h);
  CHECK(config.default_queue == "mail");
  CHECK(config.default_max_retries == 7);
  CHECK(config.retry == RetryPolicy{1s, 1min, 3, 0.5});
  CHECK(config.lease == 10s);
  CHECK(config.max_deliveries == 4);
  CHECK(config.soft_time_limit == 5s);
  CHECK(config.hard_time_limit == 6s);
  CHECK(config.node == "web-1");
  CHECK(config.queues == std::vector<std::string>{"mail", "reports"});
  CHECK(config.apps == std::vector<std::string>{"/a.so", "/b.so"});
  CHECK(config.concurrency == 8);
  CHECK(config.prefetch_multiplier == 1);
  CHECK(config.drain_limit == 30s);
  CHECK(config.command == "/bin/true");
  CHECK(config.command_notify == "yes");
  CHECK(config.pidfile == "/run/%n.pid");
  CHECK(config.logfile == "/log/%n.log");
  CHECK(config.runtime_dir == "/run/x");
  CHECK(config.log_level == "debug");
  CHECK(config.tls == TlsConfig{"/ca.pem", "/client.pem", "/key.pem", true});
  CHECK(config.supervisor == "systemd");
  CHECK(config.nodes == std::vector<std::string>{"a", "b"});
}

TEST_CASE("configuration: the STEMD_ names serve where the others are unset, as documented") {
  CHECK(Config::from({{"STEMD_COMMAND", "/bin/a"}}).command == "/bin/a");
  CHECK(Config::from({{"STEMD_COMMAND", "/bin/a"}, {"STEM_WORKER_COMMAND", "/bin/b"}}).command == "/bin/b");
  CHECK(Config::from({{"STEM_WORKER_NODES", "x y"}}).nodes == std::vector<std::string>{"x", "y"});
  CHECK(Config::from({{"STEM_WORKER_NODES", "x y"}, {"STEMD_NODES", "a"}}).nodes ==
        std::vector<std::string>{"a"});
}

TEST_CASE("configuration: a blank variable is an unset one") {
  CHECK(Config::from({{"STEM_WORKER_CONCURRENCY", " "}, {"STEM_DEFAULT_QUEUE", ""}}).default_queue ==
        "default");
}

TEST_CASE("configuration: a bad value is refused with variable, value and what is accepted") {
  CHECK(refusal({{"STEM_WORKER_CONCURRENCY", "many"}}) ==
        "STEM_WORKER_CONCURRENCY='many': must be a whole number from 1 to 1024");
  CHECK(refusal({{"STEM_WORKER_CONCURRENCY", "0"}}) ==
        "STEM_WORKER_CONCURRENCY='0': must be a whole number from 1 to 1024");
  CHECK(refusal({{"STEM_VISIBILITY_TIMEOUT", "1ms"}}) ==
        "STEM_VISIBILITY_TIMEOUT='1ms': must be a duration of at least 500ms");
  CHECK(refusal({{"STEM_TASK_TIME_LIMIT", "5"}}) ==
        "STEM_TASK_TIME_LIMIT='5': must be a duration such as 250ms, 5s, 2m or 1h");
  CHECK(refusal({{"STEM_RETRY_JITTER", "2"}}) == "STEM_RETRY_JITTER='2': must be a number from 0 to 1");
  CHECK(refusal({{"STEM_RETRY_JITTER", "nan"}}) == "STEM_RETRY_JITTER='nan': must be a number from 0 to 1");
  CHECK(refusal({{"STEM_LOG_LEVEL", "loud"}}) ==
        "STEM_LOG_LEVEL='loud': must be one of debug, info, warning, error");
  CHECK(refusal({{"STEM_DEFAULT_QUEUE", "a/b"}}).starts_with("STEM_DEFAULT_QUEUE='a/b': must be a name"));
  CHECK(refusal({{"STEM_WORKER_QUEUES", "ok,../x"}}).ends_with("'../x' is none"));
  CHECK(refusal({{"STEM_RETRY_BASE", "1h"}}) == "retry cap 5m must not be below its base 1h");
  CHECK(refusal({{"STEM_TASK_SOFT_TIME_LIMIT", "2h"}}) ==
        "STEM_TASK_SOFT_TIME_LIMIT (2h) must not be above STEM_TASK_TIME_LIMIT (1h)");
}

TEST_CASE(
    "configuration: a client's certificate without its key, or a key alone, is refused; so is any word but a "
    "clear one") {
  CHECK(refusal({{"STEM_TLS_CLIENT_KEY", "/k"}})
            .starts_with("STEM_TLS_CLIENT_KEY is set, but STEM_TLS_CLIENT_CERT is not"));
  CHECK(refusal({{"STEM_TLS_CLIENT_CERT", "/c"}})
            .starts_with("STEM_TLS_CLIENT_CERT is set, but STEM_TLS_CLIENT_KEY is not"));
  for (const auto* word : {"true", "1", "yes"})
    CHECK(Config::from({{"STEM_TLS_ALLOW_INSECURE", word}}).tls.allow_insecure);
  for (const auto* word : {"false", "0", "no", ""})
    CHECK_FALSE(Config::from({{"STEM_TLS_ALLOW_INSECURE", word}}).tls.allow_insecure);
  for (const auto* word : {"untrue", "TRUE", "on", "2", "true,"})
    CHECK(refusal({{"STEM_TLS_ALLOW_INSECURE", word}}) ==
          "STEM_TLS_ALLOW_INSECURE='" + std::string(word) + "': must be one of true, 1, yes, false, 0, no");
}

TEST_CASE("configuration: the table's defaults are those of the struct") {
  for (const auto& setting : settings()) {
    CAPTURE(setting.name);
    const bool in_words = setting.fallback.empty() || setting.fallback.find(' ') != std::string_view::npos ||
                          setting.fallback == "default";
    if (in_words) continue;
    const auto config = Config::from({{std::string(setting.name), std::string(setting.fallback)}});
    const Config plain;
    CHECK(config.retry == plain.retry);
    CHECK(config.result_ttl == plain.result_ttl);
    CHECK(config.default_max_retries == plain.default_max_retries);
    CHECK(config.lease == plain.lease);
    CHECK(config.max_deliveries == plain.max_deliveries);
    CHECK(config.soft_time_limit == plain.soft_time_limit);
    CHECK(config.hard_time_limit == plain.hard_time_limit);
    CHECK(config.prefetch_multiplier == plain.prefetch_multiplier);
    CHECK(config.drain_limit == plain.drain_limit);
    CHECK(config.log_level == plain.log_level);
    CHECK(config.supervisor == plain.supervisor);
    CHECK(config.command_notify == plain.command_notify);
  }
}

TEST_CASE("configuration: an unknown STEM_ variable is named with the nearest known one") {
  const auto warnings = unknown_settings(
      {{"STEM_BROKR_URL", "x"}, {"STEM_BROKER_URL", "y"}, {"HOME", "/"}, {"STEMD_XYZZY_PLUGH", "1"}});
  CHECK(warnings == std::vector<std::string>{
                        "unknown variable STEMD_XYZZY_PLUGH is ignored; `man stem.env` lists the known ones",
                        "unknown variable STEM_BROKR_URL is ignored; did you mean STEM_BROKER_URL?"});
}

TEST_CASE("names: only what is safe in paths, units and keys passes") {
  for (const char* good : {"a", "web-1", "A.b_c:d", "1"}) CHECK(is_name(good));
  CHECK(is_name(std::string(128, 'a')));
  for (const char* bad : {"", ".", "..", "-a", "../../etc/x", "a b", "%n", "a/b", "a\n", "ä", "a%i"})
    CHECK_FALSE(is_name(bad));
  CHECK_FALSE(is_name(std::string(129, 'a')));
  CHECK_FALSE(is_name(std::string_view("a\0b", 3)));
  CHECK_THROWS_WITH(require_name("node", "a\nb"),
                    "bad node name 'a\\x0ab'; a node name is 1 to 128 of A-Z a-z 0-9 _ . : - and starts with "
                    "a letter or a digit");
}

TEST_CASE("names: a worker's node is not called as the scheduler is") {
  require_node_name("scheduler-1");
  CHECK_THROWS_WITH(require_node_name("scheduler"), doctest::Contains("bad node name 'scheduler'"));
  CHECK_THROWS_WITH(require_node_name("a b"), doctest::Contains("bad node name 'a b'"));
}

TEST_CASE("nearest: swapped letters are one mistake, a stranger has no neighbour") {
  CHECK(nearest("wroker", {"worker", "queues"}) == "worker");
  CHECK(nearest("zzzzzz", {"worker", "queues"}).empty());
  CHECK(nearest(std::string(5000, 'a'), {"worker"}).empty());
}

TEST_CASE("ids: they are version 7 UUIDs, unique over threads, and sort by creation") {
  const auto now = Clock::system().wall();
  std::vector<std::vector<std::string>> made(4);
  std::vector<std::thread> threads;
  for (auto& ids : made)
    threads.emplace_back([&ids, now] {
      for (int i = 0; i < 5000; ++i) ids.push_back(new_id(now));
    });
  for (auto& thread : threads) thread.join();
  std::set<std::string> all;
  for (const auto& ids : made) {
    CHECK(std::is_sorted(ids.begin(), ids.end()));
    all.insert(ids.begin(), ids.end());
  }
  CHECK(all.size() == 20000);
  const auto& id = made[0][0];
  CHECK(id.size() == 36);
  CHECK(id[14] == '7');
  CHECK(std::string("89ab").find(id[19]) != std::string::npos);
  CHECK(new_id(now + 1h) > new_id(now));
  CHECK(new_id(now) > *all.rbegin());  // the clock went back: still later
}

TEST_CASE("retry policy: delays grow to the cap and jitter only shortens them") {
  const RetryPolicy policy{2s, 5min, 2.0, 0.25};
  CHECK(policy.delay(0, 0.0) == 2s);
  CHECK(policy.delay(3, 0.0) == 16s);
  CHECK(policy.delay(20, 0.0) == 5min);
  CHECK(policy.delay(1000000, 0.0) == 5min);
  for (int attempt = 0; attempt < 12; ++attempt) {
    for (double chance = 0.0; chance < 1.0; chance += 0.1) {
      CHECK(policy.delay(attempt, chance) <= policy.delay(attempt, 0.0));
      CHECK(policy.delay(attempt, chance) >= policy.delay(attempt, 0.0) * 3 / 4);
    }
  }
  CHECK(RetryPolicy{2s, 5min, 1.0, 0.0}.delay(7, 0.9) == 2s);
  CHECK_THROWS_WITH((RetryPolicy{2s, 1s}.validate()), "retry cap 1s must not be below its base 2s");
  CHECK_THROWS_WITH((RetryPolicy{2s, 5s, 0.5}.validate()), "retry factor must be from 1 to 100");
}
