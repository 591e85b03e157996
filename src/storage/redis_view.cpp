#include "storage/redis_view.hpp"

#include <algorithm>
#include <charconv>

#include "storage/instant.hpp"
#include "storage/redis_dead.hpp"
#include "storage/redis_fields.hpp"
#include "storage/redis_scores.hpp"

namespace stem {
namespace {

int number_in(std::string_view text, int fallback) {
  int number = fallback;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

}  // namespace

std::optional<JobView> redis_find(RedisClient& client, const std::string& id, WallTime now) {
  const auto reply = client.run(RedisScript::find, RedisCommand{id});
  if (reply->size() == 0) return std::nullopt;
  const auto& found = *reply;
  JobView view{.state = JobView::State::ready,
               .wire = {},
               .attempt = 0,
               .deliveries = 0,
               .due = std::nullopt,
               .consumer = {},
               .reason = {}};
  const auto kind = found[0].text;
  if (kind == "x") {
    auto job = dead_from(found[1].text, {});
    view.state = JobView::State::dead;
    view.wire = std::move(job.wire);
    view.attempt = job.attempt;
    view.reason = std::move(job.reason);
  } else if (kind == "d") {
    for (std::size_t i = 0; i < found[2].size(); ++i) {
      const auto wire = found[2][i].text;
      try {
        const auto envelope = envelope_from_wire(wire);
        if (envelope.id != id) continue;
        view.wire = wire;
        view.attempt = number_in(found[3].text, envelope.attempt);
      } catch (const Error&) {
        continue;  // another's
      }
    }
    if (view.wire.empty()) return std::nullopt;
    const auto due = time_of_score(found[1].text);
    if (due <= now) return view;
    view.state = JobView::State::delayed;
    view.due = due;
  } else {
    auto entry = read_entry(found[1]);
    view.attempt = number_in(found[4].text, entry.attempt);
    view.wire = std::move(entry.wire);
    const auto lease = found[2].text;
    if (lease.empty()) return view;
    const auto first = lease.find(' '), second = lease.find(' ', first + 1);
    view.deliveries = number_in(lease.substr(first + 1), 0);
    const auto until = time_of_micros(found[3].text);
    if (until <= now) return view;
    view.state = JobView::State::leased;
    view.due = until;
    view.consumer = lease.substr(second + 1);
  }
  return view;
}

std::vector<QueueDepth> redis_depths(RedisClient& client, WallTime now) {
  const auto reply = client.run(RedisScript::depths, RedisCommand().add(micros(now)).add(score_of(now)));
  std::vector<QueueDepth> depths;
  for (std::size_t i = 0; i < reply->size(); ++i) {
    const auto& row = (*reply)[i];
    QueueDepth depth{.queue = std::string(row[0].text),
                     .ready = row[1].number(),
                     .delayed = row[2].number(),
                     .leased = row[3].number(),
                     .dead = row[4].number()};
    if (depth.ready > 0 && !row[5].text.empty()) depth.oldest_ready = wall_time(row[5].number());
    if (depth.ready + depth.delayed + depth.leased + depth.dead > 0) depths.push_back(std::move(depth));
  }
  std::sort(depths.begin(), depths.end(), [](const auto& a, const auto& b) { return a.queue < b.queue; });
  return depths;
}

}  // namespace stem
