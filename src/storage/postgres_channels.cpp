#include "storage/postgres_channels.hpp"

#include <algorithm>
#include <charconv>

#include "storage/instant.hpp"
#include "storage/postgres_statements.hpp"

namespace stem {

void postgres_broadcast(PostgresClient& client, const std::string& channel, const Envelope& message,
                        Duration ttl, WallTime now) {
  client.run(
      {{postgres::sweep_messages, PostgresParameters().add(micros(now))},
       {postgres::say, PostgresParameters().add(channel).add(micros(now + ttl)).add(to_wire(message))}},
      {{postgres::notify_broadcast, PostgresParameters().add(client.channel("jobs"))}});
}

std::vector<Broadcast> postgres_listen(PostgresClient& client, std::vector<Listening>& channels,
                                       std::size_t limit, WallTime now) {
  std::vector<Broadcast> heard;
  if (channels.empty()) return heard;
  const auto most = static_cast<std::int64_t>(std::min<std::size_t>(limit, INT32_MAX));
  std::vector<PostgresCall> calls;
  for (const auto& [channel, position] : channels) {
    if (position.empty()) {
      calls.push_back({postgres::end_of_messages});
      continue;
    }
    std::int64_t number = 0;
    std::from_chars(position.data(), position.data() + position.size(), number);
    calls.push_back(
        {postgres::hear, PostgresParameters().add(channel).add(number).add(micros(now)).add(most)});
  }
  const auto all = client.run(calls);
  for (std::size_t i = 0; i < channels.size(); ++i) {
    auto& [channel, position] = channels[i];
    const auto& rows = all[i];
    if (&calls[i].statement == &postgres::hear)
      for (int row = 0; row < rows.count(); ++row) heard.push_back({channel, std::string(rows.text(row, 1))});
    if (rows.count() > 0) position = std::to_string(rows.number(rows.count() - 1, 0));
  }
  return heard;
}

}  // namespace stem
