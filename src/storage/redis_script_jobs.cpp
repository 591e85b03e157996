#include "storage/redis_script.hpp"

// What waits: jobs on their way in, and those who look at them.

namespace stem {

// now, jobs' channel, records' channel, number of guards, number of jobs, number of records; each guard: key,
// version; each job: id, queue, priority, score or '', number of words, then the words: of a delayed job its
// wire, else fields and values; each record: key, value, ttl. Returns how many were new, or -1 if a guard did
// not hold.
constinit const RedisScript RedisScript::publish(R"lua(
local now, guards, count, records = tonumber(ARGV[1]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
if not hold(7, guards, now) then return -1 end
local names, at, i = {}, {}, 7 + guards * 2
for n = 1, count do
  names[n], at[n] = ARGV[i], i
  i = i + 5 + tonumber(ARGV[i + 4])
end
local known = members('HMGET', ids, names)
local places, seen, again, added, noted = {}, {}, {}, 0, {}
for n = 1, count do
  local id, from = names[n], at[n]
  if not seen[id] and not (known[n] and held(id, known[n])) then
    seen[id] = true
    added = added + 1
    local q, p, score, words = ARGV[from + 1], tonumber(ARGV[from + 2]), ARGV[from + 3], tonumber(ARGV[from + 4])
    if known[n] then
      local kind, old = place(known[n])
      if kind == 'x' then forget_dead(id, old) end
      again[#again + 1] = id
    end
    if not noted[q] then
      noted[q] = true
      redis.call('SADD', queues, q)
    end
    places[#places + 1] = id
    if score ~= '' then
      redis.call('ZADD', delayed(q), score, ARGV[from + 5])
      places[#places + 1] = 'd '..score..' '..q
    else
      local entry = redis.call('XADD', stream(q, p), '*', unpack(ARGV, from + 5, from + 4 + words))
      places[#places + 1] = 's '..p..' '..entry..' '..q
    end
  end
end
many(2, places, 'HSET', ids)
many(1, again, 'HDEL', tries)
local list = {}
for n = 0, records * 3 - 1 do list[#list + 1] = ARGV[i + n] end
write(now, list)
if added > 0 then redis.call('PUBLISH', ARGV[2], '') end
if records > 0 then redis.call('PUBLISH', ARGV[3], '') end
return added
)lua");

// number of jobs; each: queue, wire as it lies among the delayed, id, priority, number of words, fields and
// values.
constinit const RedisScript RedisScript::promote(R"lua(
local i = 2
for n = 1, tonumber(ARGV[1]) do
  local q, id, p, words = ARGV[i], ARGV[i + 2], tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4])
  if redis.call('ZREM', delayed(q), ARGV[i + 1]) == 1 then
    local entry = redis.call('XADD', stream(q, p), '*', unpack(ARGV, i + 5, i + 4 + words))
    redis.call('HSET', ids, id, 's '..p..' '..entry..' '..q)
    redis.call('SADD', queues, q)
  end
  i = i + 5 + words
end
return redis.status_reply('OK')
)lua");

// id. Returns nothing; or 's', fields, lease or '', its end or '', attempts or ''; or 'd', score, wires of
// that time, attempts or ''; or 'x', what lies among the dead letters.
constinit const RedisScript RedisScript::find(R"lua(
local where = redis.call('HGET', ids, ARGV[1])
if not where then return {} end
local kind, q, p, entry = place(where)
local attempts = redis.call('HGET', tries, ARGV[1]) or ''
if kind == 'x' then
  local value = redis.call('HGET', buried, ARGV[1])
  if not value then return {} end
  return {'x', value}
elseif kind == 'd' then
  local wires = waiting(ARGV[1], q, p)
  if not wires then return {} end
  return {'d', p, wires, attempts}
end
local found = redis.call('XRANGE', stream(q, p), entry, entry)
if #found == 0 or not held(ARGV[1], where) then return {} end
local name = p..':'..entry
return {'s', found[1][2], redis.call('HGET', lease(q), name) or '', redis.call('ZSCORE', leases(q), name) or '', attempts}
)lua");

// now, now as a score. Returns for each queue: name, ready, delayed, leased, dead, since when the first is
// ready or ''.
constinit const RedisScript RedisScript::depths(R"lua(
local found = {}
for _, q in ipairs(redis.call('SMEMBERS', queues)) do
  local ready, oldest = 0, nil
  local function since(entries)
    for _, one in ipairs(entries) do
      local at = tonumber(field(one[2], 'since') or '') or parts(one[1]) * 1000
      if not oldest or at < oldest then oldest = at end
    end
  end
  for p = 0, 9 do
    local key = stream(q, p)
    local length = redis.call('XLEN', key)
    if length > 0 then
      local pending, last = progress(key, q)
      local fresh = length - (pending or 0)
      if fresh > 0 then
        ready = ready + fresh
        since(redis.call('XRANGE', key, last and '('..last or '-', '+', 'COUNT', 1))
      end
    end
  end
  local free = redis.call('ZRANGEBYSCORE', leases(q), '-inf', ARGV[1], 'LIMIT', 0, 100)
  for _, name in ipairs(free) do
    local entry = string.sub(name, 3)
    since(redis.call('XRANGE', stream(q, tonumber(string.sub(name, 1, 1))), entry, entry))
  end
  ready = ready + redis.call('ZCOUNT', leases(q), '-inf', ARGV[1])
  local due = redis.call('ZRANGEBYSCORE', delayed(q), '-inf', ARGV[2], 'WITHSCORES', 'LIMIT', 0, 1)[2]
  if due and (not oldest or tonumber(due) * 1000 < oldest) then oldest = math.floor(tonumber(due) * 1000 + 0.5) end
  ready = ready + redis.call('ZCOUNT', delayed(q), '-inf', ARGV[2])
  found[#found + 1] = {q, ready, redis.call('ZCOUNT', delayed(q), '('..ARGV[2], '+inf'),
                       redis.call('ZCOUNT', leases(q), '('..ARGV[1], '+inf'), redis.call('LLEN', dead(q)),
                       oldest and string.format('%.0f', oldest) or ''}
end
return found
)lua");

}  // namespace stem
