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

std::string RedisScript::text() const {
  return std::string(prelude) + body_;
}

}  // namespace stem
