// Worker and producer on Redis and on PostgreSQL, each against the least that any do there through the bare
// client library (bare_redis.hpp, bare_postgres.hpp); and what a signature costs a job. On servers that the
// program starts, PostgreSQL's durable; ours and the bare loop take turns in one run.
//
//     servers_bench [redis | postgres | signing | all] [ROUNDS] [JOBS] [SETTING]...
//
// A SETTING is one of PostgreSQL's: with fsync=off the disk is left out, and what is left is Stem's and the
// server's.

#include <malloc.h>

#include <cstdlib>

#include "bare_postgres.hpp"
#include "bare_redis.hpp"
#include "signing_figures.hpp"

using namespace stem;

int main(int argc, char** argv) {
  mallopt(M_ARENA_MAX, 2);  // as run_worker_service does
  const std::string which = argc > 1 ? argv[1] : "all";
  const std::size_t rounds = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 5;
  const std::size_t count = argc > 3 ? std::strtoul(argv[3], nullptr, 10) : 60'000;
  std::vector<std::string> settings{"fsync=on"};
  for (int i = 4; i < argc; ++i) settings.push_back(argv[i]);
  const auto config_of = [](std::string url) {
    Config config;
    config.broker_url = std::move(url);
    config.concurrency = worker_threads;
    return config;
  };
  if (which == "redis" || which == "all")
    print_figures<RedisServer, BareRedis>("redis", {}, rounds, count,
                                          [&](const RedisServer& server, const std::string& place) {
                                            return config_of(server.url("namespace=" + place));
                                          });
  if (which == "postgres" || which == "all")
    print_figures<PostgresServer, BarePostgres>("postgresql", settings, rounds, count,
                                                [&](const PostgresServer& server, const std::string& place) {
                                                  return config_of(server.url("schema=" + place));
                                                });
  if (which == "signing" || which == "all") print_signing_figures();
}
