#include "storage/redis_script.hpp"

// Messages to everyone who listens.

namespace stem {

// channel, now, when it expires, that in milliseconds from now, jobs' channel, what to publish there, fields
// and values.
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

// now, limit, then channel and position or '' of each. Returns for each its new position, and what it heard:
// fields.
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

}  // namespace stem
