#include "worker/canvas_keeping.hpp"

#include <stem/envelope.hpp>
#include <stem/error.hpp>

#include "worker/attempts.hpp"
#include "worker/canvas_state.hpp"

namespace stem {
namespace {

constexpr std::size_t page = 500;

/// What members have left is never changed, and is not wanted any more once it is thrown away.
void keep_members(Store& store, const std::string& group, Duration life) {
  for (std::string after;;) {
    const auto some = store.list(canvas_member_key(group), page, after);
    std::vector<StoreWrite> writes;
    for (const auto& entry : some) writes.push_back({entry.key, entry.value, life});
    if (!writes.empty()) store.put(writes);
    if (some.size() < page) return;
    after = some.back().key;
  }
}

/// False if another was quicker, who may have written it for as long, or with its end as it was.
bool keep(Store& store, const StoreEntry& entry, Duration life) {
  return !entry.expires || store.compare_and_set({entry.key, entry.value, life}, entry.version);
}

/// Those who wait see that there is something to wait for.
void keep_record(Store& store, const std::string& id, Duration life) {
  if (const auto entry = store.get(result_key(id))) keep(store, *entry, life);
}

}  // namespace

WallTime keep_canvas(Store& store, const std::string& group, Duration life, Duration least, WallTime now) {
  const auto there = store.get(canvas_root_key(group));
  if (!there || !there->expires) return now + life;
  if (*there->expires - now >= least) return *there->expires;
  const auto root = canvas_root_from_wire(there->value);
  if (root.finished) return now + life;
  for (const auto& entry : store.list(canvas_chunk_key(group), SIZE_MAX)) keep(store, entry, life);
  keep_members(store, group, life);
  keep_record(store, group, life);
  if (!root.callback.empty()) keep_record(store, envelope_from_wire(root.callback).id, life);
  // The root is the last: if we die before, the next who looks does it all.
  if (keep(store, *there, life)) return now + life;
  const auto end = store.get(there->key);
  return end ? end->expires.value_or(now + life) : now;
}

}  // namespace stem
