#include "storage/redis_dead_letters.hpp"

#include <algorithm>

#include "storage/redis_dead.hpp"
#include "storage/redis_fields.hpp"

namespace stem {

std::vector<DeadJob> redis_dead_letters(RedisClient& client, const std::string& queue, std::size_t limit) {
  std::vector<DeadJob> found;
  if (limit == 0) return found;
  std::vector<std::string> queues{queue};
  if (queue.empty()) {
    queues.clear();
    const auto replies = client.ask({RedisCommand{"SMEMBERS", client.key("queues")}});
    for (const auto* name : replies[0]->elements) queues.emplace_back(name->text);
  }
  if (queues.empty()) return found;
  const auto last = std::to_string(std::min<std::size_t>(limit, INT32_MAX) - 1);
  std::vector<RedisCommand> commands;
  for (const auto& name : queues) commands.push_back({"LRANGE", client.key("dead:" + name), "0", last});
  const auto replies = client.ask(commands);
  for (std::size_t i = 0; i < queues.size(); ++i)
    for (const auto* one : replies[i]->elements) found.push_back(dead_from(one->text, queues[i]));
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.dead_at > b.dead_at; });
  if (found.size() > limit) found.resize(limit);
  return found;
}

std::size_t redis_replay(RedisClient& client, std::span<const std::string> ids, WallTime now) {
  if (ids.empty()) return 0;
  RedisCommand wanted{"HMGET", client.key("buried")};
  for (const auto& id : ids) wanted.add(id);
  const auto replies = client.ask({wanted});
  RedisCommand jobs;
  std::int64_t count = 0;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const auto& value = (*replies[0])[i];
    if (value.is_nil()) continue;
    RedisCommand words;
    try {
      const auto job = envelope_from_wire(dead_from(value.text, {}).wire);
      words.add(ids[i])
          .add(value.text)
          .add(job.queue)
          .add(job.priority)
          .add(job.attempt > 0 ? "0" : "")
          .add(redis_entry_words);
      add_entry(words, job, now);
    } catch (const Error&) {
      continue;  // it would only die again
    }
    jobs.add(words);
    ++count;
  }
  if (count == 0) return 0;
  return static_cast<std::size_t>(
      client.run(RedisScript::replay, RedisCommand().add(client.channel("jobs")).add(count).add(jobs))
          ->number());
}

std::size_t redis_purge(RedisClient& client, std::span<const std::string> ids) {
  if (ids.empty()) return 0;
  RedisCommand words;
  for (const auto& id : ids) words.add(id);
  return static_cast<std::size_t>(client.run(RedisScript::purge, words)->number());
}

}  // namespace stem
