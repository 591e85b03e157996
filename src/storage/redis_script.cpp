#include "storage/redis_script.hpp"

namespace stem {
namespace {

// What several scripts need.
constexpr const char* prelude = R"lua(
local ns = KEYS[1]
local ids, tries, buried, queues = ns..':ids', ns..':tries', ns..':buried', ns..':queues'
local function stream(q, p) return ns..':stream:'..q..(p > 0 and ':p'..p or '') end
local function group(q) return ns..':group:'..q end
local function delayed(q) return ns..':delayed:'..q end
local function dead(q) return ns..':dead:'..q end
local function lease(q) return ns..':lease:'..q end
local function leases(q) return ns..':leases:'..q end

-- A command with a list of arguments of any length; `list` holds groups of `size`.
local function many(size, list, ...)
  local step = size * math.floor(3000 / size)
  for i = 1, #list, step do
    local command = {...}
    for j = i, math.min(i + step - 1, #list) do command[#command + 1] = list[j] end
    redis.call(unpack(command))
  end
end
local function members(command, key, list)
  local found = {}
  for i = 1, #list, 3000 do
    for _, value in ipairs(redis.call(command, key, unpack(list, i, math.min(i + 2999, #list)))) do
      found[#found + 1] = value
    end
  end
  return found
end
-- The value of a field of an entry, and where it stands.
local function field(entry, name)
  for i = 1, #entry, 2 do if entry[i] == name then return entry[i + 1], i + 1 end end
end
-- Of a queue's group in one stream: how many entries are handed out, and the last that was; nil without a group.
local function progress(key, q)
  if redis.call('EXISTS', key) == 0 then return nil end
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', key)) do
    if field(info, 'name') == group(q) then return field(info, 'pending'), field(info, 'last-delivered-id') end
  end
end
local function parts(entry)
  local ms, seq = string.match(entry, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end
local function before(a, b)
  local ams, aseq = parts(a)
  local bms, bseq = parts(b)
  if ams ~= bms then return ams < bms end
  return aseq < bseq
end

-- What is remembered of a job's place: 's PRIORITY ENTRY QUEUE', 'd SCORE QUEUE' or 'x QUEUE'.
local function place(where)
  local kind = string.sub(where, 1, 1)
  if kind == 's' then
    local p, entry, q = string.match(where, '^s (%d) (%S+) (.*)$')
    return kind, q, tonumber(p), entry
  elseif kind == 'd' then
    local score, q = string.match(where, '^d (%S+) (.*)$')
    return kind, q, score
  end
  return kind, string.sub(where, 3)
end
local function waiting(id, q, score)
  local found = redis.call('ZRANGEBYSCORE', delayed(q), score, score)
  local part = string.find(id, '["\\]') and id or '"id":"'..id..'"'
  for _, wire in ipairs(found) do
    if string.find(wire, part, 1, true) then return found end
  end
end
-- Whether a job is still where it was remembered: workers of other makes move and end jobs without a word.
local function held(id, where)
  local kind, q, p, entry = place(where)
  if kind == 'd' then return waiting(id, q, p) ~= nil end
  if kind == 'x' then return false end
  if redis.call('HEXISTS', lease(q), p..':'..entry) == 1 then return true end
  local key = stream(q, p)
  if #redis.call('XRANGE', key, entry, entry) == 0 then return false end
  local _, last = progress(key, q)
  if not last or before(last, entry) then return true end
  return #redis.call('XPENDING', key, group(q), entry, entry, 1) > 0
end
-- When a broadcast expires. Those of other makes do not say.
local function expiry(one)
  return tonumber(field(one[2], 'until') or '') or (parts(one[1]) + 86400000) * 1000
end
local function forget_dead(id, q)
  local value = redis.call('HGET', buried, id)
  if value then
    redis.call('LREM', dead(q), 1, value)
    redis.call('HDEL', buried, id)
  end
end

local function write(now, list)
  if #list == 0 then return end
  local version = redis.call('INCRBY', ns..':version', #list / 3) - #list / 3
  local last = {}
  for i = 1, #list, 3 do last[list[i]] = i end
  local values, index, expiring, lasting = {}, {}, {}, {}
  for i = 1, #list, 3 do
    local key = list[i]
    if last[key] == i then
      local ttl, expires = tonumber(list[i + 2]), 0
      if ttl > 0 then
        expires = now + ttl
        expiring[#expiring + 1] = string.format('%.0f', expires)
        expiring[#expiring + 1] = key
      else
        lasting[#lasting + 1] = key
      end
      values[#values + 1] = key
      values[#values + 1] = string.format('%.0f %.0f ', version + (i + 2) / 3, expires)..list[i + 1]
      index[#index + 1] = '0'
      index[#index + 1] = key
    end
  end
  many(2, values, 'HSET', ns..':values')
  many(2, index, 'ZADD', ns..':keys')
  many(2, expiring, 'ZADD', ns..':expiry')
  many(1, lasting, 'ZREM', ns..':expiry')
end
local function live(key, now)
  local value = redis.call('HGET', ns..':values', key)
  if not value then return nil end
  local version, expires = string.match(value, '^(%d+) (%d+) ')
  if tonumber(expires) > 0 and tonumber(expires) <= now then return nil end
  return version, value
end
-- Whether `count` guards, from ARGV[at] on, hold.
local function hold(at, count, now)
  for i = at, at + count * 2 - 1, 2 do
    if (live(ARGV[i], now) or '0') ~= ARGV[i + 1] then return false end
  end
  return true
end
local function drop(keys)
  many(1, keys, 'HDEL', ns..':values')
  many(1, keys, 'ZREM', ns..':keys')
  many(1, keys, 'ZREM', ns..':expiry')
end
)lua";

}  // namespace

std::string RedisScript::text() const { return std::string(prelude) + body_; }

// now, jobs' channel, records' channel, number of guards, number of jobs, number of records; each guard: key, version;
// each job: id, queue, priority, score or '', number of words, then the words: of a delayed job its wire, else fields
// and values; each record: key, value, ttl. Returns how many were new, or -1 if a guard did not hold.
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

// now, now as a score, jobs' channel, records' channel, number of settlements; each: kind, queue, priority, entry, id,
// token, three words of its own, record's key, value, and ttl or ''; then: limit, length of the lease, token, consumer,
// whether to return delayed jobs that are due instead of fetching, number of queues, the queues.
// Kinds: A; R and P: score or '', wire, and for R attempts; L: what goes into the dead letters.
// Returns the settlements that were lost, from 0; due jobs as {queue, {wire, score, …}}; jobs as {index of the queue,
// priority, entry, deliveries, fields}; and their attempts, or false, where any of the namespace's jobs was retried.
constinit const RedisScript RedisScript::exchange(R"lua(
local now, now_score, settlements = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[5])
local i, wake, lost, records = 6, false, {}, {}
local places, gone_ids, gone_tries, names = {}, {}, {}, {}
local by_queue = {}
local function of(q)
  local all = by_queue[q]
  if not all then
    all = {fields = {}, numbers = {}, gone = {}, entries = {}, held = {}, scores = {}}
    by_queue[q] = all
    names[#names + 1] = q
  end
  return all
end
for n = 1, settlements do
  local all = of(ARGV[i + 1])
  all.fields[#all.fields + 1] = ARGV[i + 2]..':'..ARGV[i + 3]
  all.numbers[#all.numbers + 1] = i
  i = i + 12
end
local start, mine, ended = 6, {}, {}
for _, q in ipairs(names) do
  local all = by_queue[q]
  for n, value in ipairs(members('HMGET', lease(q), all.fields)) do
    local from = all.numbers[n]
    mine[from] = value and string.match(value, '^%S+') == ARGV[from + 5]
  end
end
for n = 0, settlements - 1 do
  local from = start + n * 12
  local kind, q, p, entry, id = ARGV[from], ARGV[from + 1], tonumber(ARGV[from + 2]), ARGV[from + 3], ARGV[from + 4]
  local name = p..':'..entry
  if not mine[from] or ended[q..' '..name] then
    lost[#lost + 1] = n
  else
    ended[q..' '..name] = true
    if ARGV[from + 11] ~= '' then
      records[#records + 1] = ARGV[from + 9]
      records[#records + 1] = ARGV[from + 10]
      records[#records + 1] = ARGV[from + 11]
    end
    local all, gone, score = by_queue[q], true, ARGV[from + 6]
    if kind == 'A' then
      gone_ids[#gone_ids + 1] = id
    elseif kind == 'L' then
      redis.call('LPUSH', dead(q), ARGV[from + 6])
      redis.call('HSET', buried, id, ARGV[from + 6])
      places[#places + 1] = id
      places[#places + 1] = 'x '..q
      gone_tries[#gone_tries + 1] = id
    else
      wake = true
      if kind == 'R' then redis.call('HSET', tries, id, ARGV[from + 8]) end
      if score ~= '' then
        redis.call('ZADD', delayed(q), score, ARGV[from + 7])
        places[#places + 1] = id
        places[#places + 1] = 'd '..score..' '..q
      elseif kind == 'P' then
        -- It keeps its place: still handed out, to nobody, and free to be taken over at once.
        gone = false
        all.held[#all.held + 1] = name
        all.held[#all.held + 1] = '0 0 '
        all.scores[#all.scores + 1] = '0'
        all.scores[#all.scores + 1] = name
      else
        local found = redis.call('XRANGE', stream(q, p), entry, entry)
        if #found > 0 then
          local words = found[1][2]
          local _, since = field(words, 'since')
          if since then words[since] = string.format('%.0f', now) end
          local again = redis.call('XADD', stream(q, p), '*', unpack(words))
          places[#places + 1] = id
          places[#places + 1] = 's '..p..' '..again..' '..q
        end
      end
    end
    if gone then
      all.gone[#all.gone + 1] = name
      all.entries[p] = all.entries[p] or {}
      table.insert(all.entries[p], entry)
    end
  end
end
for _, q in ipairs(names) do
  local all = by_queue[q]
  for p, entries in pairs(all.entries) do
    many(1, entries, 'XACK', stream(q, p), group(q))
    many(1, entries, 'XDEL', stream(q, p))
  end
  many(1, all.gone, 'HDEL', lease(q))
  many(1, all.gone, 'ZREM', leases(q))
  many(2, all.held, 'HSET', lease(q))
  many(2, all.scores, 'ZADD', leases(q))
end
many(1, gone_ids, 'HDEL', ids)
if redis.call('EXISTS', tries) == 1 then
  many(1, gone_ids, 'HDEL', tries)
  many(1, gone_tries, 'HDEL', tries)
end
many(2, places, 'HSET', ids)
write(now, records)
if wake then redis.call('PUBLISH', ARGV[3], '') end
if #records > 0 then redis.call('PUBLISH', ARGV[4], '') end

local room, length, token, consumer, look = tonumber(ARGV[i]), tonumber(ARGV[i + 1]), ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
local wanted, due = {}, {}
for n = 1, tonumber(ARGV[i + 5]) do wanted[n] = ARGV[i + 5 + n] end
if room > 0 and look == '1' then
  for n, q in ipairs(wanted) do
    local found = redis.call('ZRANGEBYSCORE', delayed(q), '-inf', now_score, 'WITHSCORES', 'LIMIT', 0, 256)
    if #found > 0 then due[#due + 1] = {n - 1, found} end
  end
end
if room == 0 or #due > 0 then return {lost, due, {}, {}} end

local claims, taken, values, scores, out, jobs = {}, {}, {}, {}, {}, {}
for n, q in ipairs(wanted) do
  local lanes = {}
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', leases(q), '-inf', ARGV[1], 'LIMIT', 0, 1000)) do
    local p, entry = tonumber(string.sub(name, 1, 1)), string.sub(name, 3)
    lanes[p] = lanes[p] or {}
    table.insert(lanes[p], entry)
  end
  for _, lane in pairs(lanes) do table.sort(lane, before) end
  claims[n], values[n], scores[n] = lanes, {}, {}
end
local function take(n, p, entry, words, deliveries)
  local asked = words[19] == 'visibilityTimeout' and words[20] or field(words, 'visibilityTimeout') or ''
  local until_ = string.format('%.0f', now + math.max(length, (tonumber(asked) or 0) * 1000))
  local name = p..':'..entry
  local v, s = values[n], scores[n]
  v[#v + 1] = name
  v[#v + 1] = token..' '..deliveries..' '..consumer
  s[#s + 1] = until_
  s[#s + 1] = name
  out[#out + 1] = {n - 1, p, entry, deliveries, words}
  jobs[#jobs + 1] = words[1] == 'id' and words[2] or field(words, 'id') or ''
  room = room - 1
end
for p = 9, 0, -1 do
  for n, q in ipairs(wanted) do
    local key = stream(q, p)
    local lane = claims[n][p]
    if lane and room > 0 then
      local first = {}
      for m = 1, math.min(room, #lane) do first[m] = lane[m] end
      local got, before_ = {}, {}
      for _, one in ipairs(redis.call('XCLAIM', key, group(q), consumer, 0, unpack(first))) do
        if one then got[one[1]] = one[2] end
      end
      local names_ = {}
      for m, entry in ipairs(first) do names_[m] = p..':'..entry end
      before_ = members('HMGET', lease(q), names_)
      for m, entry in ipairs(first) do
        if got[entry] then
          take(n, p, entry, got[entry], tonumber(string.match(before_[m] or '', '^%S+ (%d+)') or 0) + 1)
        else
          -- Ended by a worker of another make.
          redis.call('HDEL', lease(q), names_[m])
          redis.call('ZREM', leases(q), names_[m])
          redis.call('XACK', key, group(q), entry)
        end
      end
    end
    if room > 0 and redis.call('EXISTS', key) == 1 then
      local read = {'XREADGROUP', 'GROUP', group(q), consumer, 'COUNT', room, 'STREAMS', key, '>'}
      local found = redis.pcall(unpack(read))
      if found and found.err then
        if string.sub(found.err, 1, 7) ~= 'NOGROUP' then return found end
        redis.call('XGROUP', 'CREATE', key, group(q), '0')
        found = redis.call(unpack(read))
      end
      if found then
        for _, one in ipairs(found[1][2]) do take(n, p, one[1], one[2], 1) end
      end
    end
  end
  if room == 0 then break end
end
for n, q in ipairs(wanted) do
  many(2, values[n], 'HSET', lease(q))
  many(2, scores[n], 'ZADD', leases(q))
end
-- What was handed out once and is pending no more has ended, but nobody deleted it: a worker of another make, or a
-- server that lost the end of a transaction while it was killed, and came back with its beginning.
if #out == 0 then
  for _, q in ipairs(wanted) do
    for p = 0, 9 do
      local key = stream(q, p)
      local _, last = progress(key, q)
      local old = last and redis.call('XRANGE', key, '-', last, 'COUNT', 100) or {}
      if #old > 0 then
        local pending, ended = {}, {}
        local known = redis.call('XPENDING', key, group(q), old[1][1], old[#old][1], 1000)
        for _, one in ipairs(known) do pending[one[1]] = true end
        for _, one in ipairs(old) do
          if #known < 1000 and not pending[one[1]] then ended[#ended + 1] = one[1] end
        end
        many(1, ended, 'XDEL', key)
      end
    end
  end
end
local attempts = {}
if #jobs > 0 and redis.call('EXISTS', tries) == 1 then attempts = members('HMGET', tries, jobs) end
return {lost, due, out, attempts}
)lua");

// number of jobs; each: queue, wire as it lies among the delayed, id, priority, number of words, fields and values.
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

// new end, number of leases; each: queue, priority, entry, token. Returns those that are lost, from 0.
constinit const RedisScript RedisScript::renew(R"lua(
local lost, i = {}, 3
for n = 0, tonumber(ARGV[2]) - 1 do
  local q, p, entry = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]
  local name = p..':'..entry
  local token, consumer = string.match(redis.call('HGET', lease(q), name) or '', '^(%S+) %d+ (.*)$')
  if token == ARGV[i + 3] then
    redis.call('ZADD', leases(q), 'GT', ARGV[1], name)
    -- Workers of other makes take over what has been idle for long.
    redis.call('XCLAIM', stream(q, p), group(q), consumer, 0, entry, 'IDLE', 0, 'JUSTID')
  else
    lost[#lost + 1] = n
  end
  i = i + 4
end
return lost
)lua");

// the queues. Returns for each: score of the first delayed job or '', end of the first lease or ''.
constinit const RedisScript RedisScript::next_due(R"lua(
local found = {}
for _, q in ipairs(ARGV) do
  found[#found + 1] = redis.call('ZRANGE', delayed(q), 0, 0, 'WITHSCORES')[2] or ''
  found[#found + 1] = redis.call('ZRANGEBYSCORE', leases(q), '(0', '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2] or ''
end
return found
)lua");

// id. Returns nothing; or 's', fields, lease or '', its end or '', attempts or ''; or 'd', score, wires of that time,
// attempts or ''; or 'x', what lies among the dead letters.
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

// now, now as a score. Returns for each queue: name, ready, delayed, leased, dead, since when the first is ready or ''.
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

// jobs' channel, number of jobs; each: id, what lies among the dead letters, queue, priority, attempts or '', number of
// words, fields and values. Returns how many were replayed.
constinit const RedisScript RedisScript::replay(R"lua(
local i, done = 3, 0
for n = 1, tonumber(ARGV[2]) do
  local id, value, q, p, words = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3]), tonumber(ARGV[i + 5])
  if redis.call('HGET', buried, id) == value then
    local _, where = place(redis.call('HGET', ids, id) or 'x '..q)
    forget_dead(id, where)
    local entry = redis.call('XADD', stream(q, p), '*', unpack(ARGV, i + 6, i + 5 + words))
    redis.call('HSET', ids, id, 's '..p..' '..entry..' '..q)
    redis.call('SADD', queues, q)
    if ARGV[i + 4] ~= '' then redis.call('HSET', tries, id, ARGV[i + 4]) end
    done = done + 1
  end
  i = i + 6 + words
end
if done > 0 then redis.call('PUBLISH', ARGV[1], '') end
return done
)lua");

// the ids. Returns how many were dead.
constinit const RedisScript RedisScript::purge(R"lua(
local done = 0
for _, id in ipairs(ARGV) do
  local kind, q = place(redis.call('HGET', ids, id) or '-')
  if kind == 'x' then
    forget_dead(id, q)
    redis.call('HDEL', ids, id)
    done = done + 1
  end
end
return done
)lua");

// channel, now, when it expires, that in milliseconds from now, jobs' channel, what to publish there, fields and values.
constinit const RedisScript RedisScript::broadcast(R"lua(
local key, now = ns..':broadcast:'..ARGV[1], tonumber(ARGV[2])
redis.call('XADD', key, '*', 'delivery', 'at-least-once', 'until', ARGV[3], unpack(ARGV, 7))
for _, one in ipairs(redis.call('XRANGE', key, '-', '+', 'COUNT', 100)) do
  if expiry(one) > now then break end
  redis.call('XDEL', key, one[1])
end
if #redis.call('XINFO', 'GROUPS', key) > 0 then
  -- Listeners of another make would lose their place with the key.
  redis.call('PERSIST', key)
elseif tonumber(ARGV[4]) > redis.call('PTTL', key) then
  redis.call('PEXPIRE', key, ARGV[4])
end
redis.call('PUBLISH', ARGV[5], ARGV[6])
return redis.status_reply('OK')
)lua");

// now, limit, then channel and position or '' of each. Returns for each its new position, and what it heard: fields.
constinit const RedisScript RedisScript::listen(R"lua(
local now, limit, answer = tonumber(ARGV[1]), tonumber(ARGV[2]), {}
for i = 3, #ARGV, 2 do
  local key, position, found = ns..':broadcast:'..ARGV[i], ARGV[i + 1], {}
  if position == '' then
    position = '0-0'
    if redis.call('EXISTS', key) == 1 then position = field(redis.call('XINFO', 'STREAM', key), 'last-generated-id') end
  else
    while #found < limit do
      local some = redis.call('XRANGE', key, '('..position, '+', 'COUNT', limit - #found)
      if #some == 0 then break end
      for _, one in ipairs(some) do
        position = one[1]
        if expiry(one) > now then found[#found + 1] = one[2] end
      end
    end
  end
  answer[#answer + 1] = {position, found}
end
return answer
)lua");

// now, records' channel, number of guards; each: key, version; then each value: key, value, ttl. Returns 1, or 0 if a guard
// did not hold.
constinit const RedisScript RedisScript::put(R"lua(
local now, guards = tonumber(ARGV[1]), tonumber(ARGV[3])
if not hold(4, guards, now) then return 0 end
local list, first = {}, 4 + guards * 2
for i = first, #ARGV do list[i - first + 1] = ARGV[i] end
write(now, list)
if #list > 0 then redis.call('PUBLISH', ARGV[2], '') end
return 1
)lua");

// now, key. Returns 1 or 0.
constinit const RedisScript RedisScript::erase(R"lua(
local there = live(ARGV[2], tonumber(ARGV[1]))
drop({ARGV[2]})
return there and 1 or 0
)lua");

// now, prefix, after or '', limit. Returns key, value, …
constinit const RedisScript RedisScript::list(R"lua(
local now, limit = tonumber(ARGV[1]), tonumber(ARGV[4])
local from, found = '['..ARGV[2], {}
if ARGV[3] ~= '' and ARGV[3] >= ARGV[2] then from = '('..ARGV[3] end
while #found < limit * 2 do
  local keys = redis.call('ZRANGEBYLEX', ns..':keys', from, '['..ARGV[2]..'\255', 'LIMIT', 0, 500)
  if #keys == 0 then break end
  for _, key in ipairs(keys) do
    local version, value = live(key, now)
    if version and #found < limit * 2 then
      found[#found + 1] = key
      found[#found + 1] = value
    end
  end
  from = '('..keys[#keys]
end
return found
)lua");

// now, how many at most. Returns how many were deleted.
constinit const RedisScript RedisScript::sweep(R"lua(
local keys = redis.call('ZRANGEBYSCORE', ns..':expiry', '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
drop(keys)
return #keys
)lua");

}  // namespace stem
