#include "storage/redis_script.hpp"

// Dead letters.

namespace stem {

// jobs' channel, number of jobs; each: id, what lies among the dead letters, queue, priority, attempts or '',
// number of words, fields and values. Returns how many were replayed.
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

}  // namespace stem
