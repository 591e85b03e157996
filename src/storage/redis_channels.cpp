#include "storage/redis_channels.hpp"

#include <algorithm>

#include "storage/redis_fields.hpp"

namespace stem {

void redis_broadcast(RedisClient& client, const std::string& channel, const Envelope& message, Duration ttl,
                     WallTime now) {
  RedisCommand words;
  words.add(channel).add(now.time_since_epoch().count()).add((now + ttl).time_since_epoch().count());
  words.add(std::chrono::ceil<std::chrono::milliseconds>(ttl).count());
  words.add(client.channel("jobs")).add(redis_broadcast_wake);
  add_entry(words, message, now);
  client.run(RedisScript::broadcast, words);
}

std::vector<Broadcast> redis_listen(RedisClient& client, std::vector<Listening>& channels, std::size_t limit,
                                    WallTime now) {
  std::vector<Broadcast> heard;
  if (channels.empty()) return heard;
  RedisCommand words;
  words.add(now.time_since_epoch().count())
      .add(static_cast<std::int64_t>(std::min<std::size_t>(limit, 10'000)));
  for (const auto& [channel, position] : channels) words.add(channel).add(position);
  const auto reply = client.run(RedisScript::listen, words);
  for (std::size_t i = 0; i < channels.size(); ++i) {
    const auto& [channel, position] = channels[i];
    const auto& said = (*reply)[i][1];
    for (std::size_t n = 0; n < said.size(); ++n) heard.push_back({channel, read_entry(said[n]).wire});
    channels[i].position = (*reply)[i][0].text;
  }
  return heard;
}

}  // namespace stem
