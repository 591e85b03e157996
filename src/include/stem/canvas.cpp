#include <algorithm>
#include <stem/stem.hpp>

#include "core/id.hpp"
#include "worker/attempts.hpp"
#include "worker/connections.hpp"

namespace stem {
namespace {

/// In one commit, and one command of Redis.
constexpr std::size_t largest_group = 20'000;

void require_size(const char* what, std::size_t size, std::size_t most) {
  if (size == 0 || size > most)
    throw Error(Exit::usage, std::string("a ") + what + " has 1 to " + std::to_string(most) + " jobs, not " +
                                 std::to_string(size));
}

/// When the last of them may begin; the epoch if all may at once.
WallTime latest_start(std::span<const Job> jobs) {
  const auto now = Clock::system().wall();
  WallTime last{};
  for (const auto& job : jobs)
    if (const auto start = job.options.eta.value_or(now + job.options.delay.value_or(Duration{}));
        start > now)
      last = std::max(last, start);
  return last;
}

}  // namespace

Stem::Connections::Members Stem::Connections::members(const std::vector<Job>& jobs, const std::string& group,
                                                      bool chord, WallTime until) {
  require_size("group", jobs.size(), largest_group);
  Members members;
  members.ttl = canvas_life(until, Clock::system().wall());
  members.root = CanvasRoot::of(static_cast<std::int64_t>(jobs.size()));
  for (const auto& job : jobs) {
    CanvasPart part;
    part.group = group;
    part.index = static_cast<std::int64_t>(members.jobs.size());
    part.size = members.root.members;
    part.chord = chord;
    part.until = until;
    auto made = member(job, std::move(part));
    members.ids.push_back(made.envelope.id);
    std::move(made.records.begin(), made.records.end(), std::back_inserter(members.records));
    members.jobs.push_back(std::move(made.envelope));
  }
  auto ids = members.ids;
  std::sort(ids.begin(), ids.end());
  if (std::adjacent_find(ids.begin(), ids.end()) != ids.end())
    throw Error(Exit::usage,
                "two members of a group have the same id; the group would wait for the second in vain");
  return members;
}

void Stem::Connections::publish_group(Members members, const std::string& group) {
  members.records.push_back({canvas_root_key(group), to_wire(members.root), members.ttl});
  members.records.push_back(
      {result_key(group), to_wire(group_result(group, members.root.members, 0, 0)), members.ttl});
  publish(members.jobs, members.records);
}

Chain::Ids Stem::draw(const Chain& chain) {
  require_size("chain", chain.links.size(), longest_chain);
  Chain::Ids ids{new_id(Clock::system().wall()), {}};
  return here().in_one_trace("chain", ids.id, chain.links.size(), [&] {
    // Each link carries the next one, so the last is made first.
    std::optional<Envelope> next;
    std::vector<StoreWrite> records;
    WallTime last{};  // that any of them may begin at
    for (auto i = chain.links.size(); i-- > 0;) {
      CanvasPart part;
      part.follows = i > 0;
      if (next) part.then.push_back(*next);
      auto link = here().member(chain.links[i], std::move(part), Connections::ChainPlace{ids.id, i});
      ids.links.insert(ids.links.begin(), link.envelope.id);
      if (next) records.push_back(Connections::waiting(*next, link.envelope.id, canvas_ttl));
      std::move(link.records.begin(), link.records.end(), std::back_inserter(records));
      next = std::move(link.envelope);
      last = std::max(last, next->not_before.value_or(last));
    }
    for (auto& record : records) record.ttl = std::max(record.ttl, canvas_life(last, Clock::system().wall()));
    here().publish({*next}, records);
    return ids;
  });
}

Group::Ids Stem::draw(const Group& group) {
  Group::Ids ids{new_id(Clock::system().wall()), {}};
  return here().in_one_trace("group", ids.id, group.members.size(), [&] {
    auto members = here().members(group.members, ids.id, false, latest_start(group.members));
    ids.members = members.ids;
    here().publish_group(std::move(members), ids.id);
    return ids;
  });
}

Chord::Ids Stem::draw(const Chord& chord) {
  Chord::Ids ids{new_id(Clock::system().wall()), {}, {}};
  return here().in_one_trace("chord", ids.id, chord.members.size() + 1, [&] {
    const auto until = std::max(latest_start(chord.members), latest_start({&chord.callback, 1}));
    auto members = here().members(chord.members, ids.id, true, until);
    CanvasPart part;
    part.callback_of = ids.id;
    part.until = until;
    part.size = members.root.members;
    auto callback = here().member(chord.callback, std::move(part));
    std::move(callback.records.begin(), callback.records.end(), std::back_inserter(members.records));
    members.records.push_back(Connections::waiting(callback.envelope, ids.id, members.ttl));
    members.root.callback = to_wire(callback.envelope);
    ids.callback = callback.envelope.id;
    ids.members = members.ids;
    here().publish_group(std::move(members), ids.id);
    return ids;
  });
}

}  // namespace stem
