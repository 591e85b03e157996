#include "storage/redis_script.hpp"

// What a store remembers.

namespace stem {

// now, records' channel, number of guards; each: key, version; then each value: key, value, ttl. Returns 1,
// or 0 if a guard did not hold.
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
