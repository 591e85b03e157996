#include "storage/redis_script.hpp"

// Jobs that are handed out.

namespace stem {

// now, now as a score, jobs' channel, records' channel, number of settlements; each: kind, queue, priority,
// entry, id, token, three words of its own, record's key, value, and ttl or ''; then: limit, length of the
// lease, token, consumer, whether to return delayed jobs that are due instead of fetching, number of queues,
// the queues. Kinds: A; R and P: score or '', wire, and for R attempts; L: what goes into the dead letters.
// Returns the settlements that were lost, from 0; due jobs as {queue, {wire, score, …}}; jobs as {index of
// the queue, priority, entry, deliveries, fields}; and their attempts, or false, where any of the namespace's
// jobs was retried.
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

}  // namespace stem
