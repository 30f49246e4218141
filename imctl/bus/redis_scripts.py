"""The keys of a Redis Streams bus, and the scripts that must be one step.

All keys of a bus have the topic in braces, so that they live on one node of a
Redis Cluster:

    {topic}:0 ...             streams, one a partition; fields k and v
    {topic}:partitions        how many there are
    {topic}:GROUP:members     sorted set: member -> when its lease ends, ms
    {topic}:GROUP:owners      hash: partition -> member

In every stream a group has one consumer, which is whoever owns the partition;
so what a dead member left behind needs no search among consumers.
"""

from __future__ import annotations

__all__ = ["BEAT", "CONSUMER", "LEAVE", "TRIM", "Keys"]

CONSUMER = "owner"


class Keys:
    """Names of the keys of one bus."""

    __slots__ = ("_topic", "meta", "streams")

    def __init__(self, topic: str, partitions: int) -> None:
        self._topic = topic
        self.meta = f"{{{topic}}}:partitions"
        self.streams = [f"{{{topic}}}:{partition}" for partition in range(partitions)]

    def members(self, group: str) -> str:
        """Return the name of the group's sorted set."""
        return f"{{{self._topic}}}:{group}:members"

    def owners(self, group: str) -> str:
        """Return the name of the group's hash."""
        return f"{{{self._topic}}}:{group}:owners"


# KEYS members, owners. ARGV member, lease in ms, partitions, then those it gives up.
# Renews the lease, drops members whose lease has ended, and takes free partitions up to a
# fair share. Returns {kept, newly taken, share, members}.
BEAT = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local me, parts = ARGV[1], tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + ARGV[2], me)
for i = 4, #ARGV do
  if redis.call('HGET', KEYS[2], ARGV[i]) == me then redis.call('HDEL', KEYS[2], ARGV[i]) end
end
local names, live, rank = redis.call('ZRANGE', KEYS[1], 0, -1), {}, 0
table.sort(names)
for i, name in ipairs(names) do
  live[name] = true
  if name == me then rank = i - 1 end
end
local share = math.floor(parts / #names)
if rank < parts % #names then share = share + 1 end
local flat, owners = redis.call('HGETALL', KEYS[2]), {}
for i = 1, #flat, 2 do owners[flat[i]] = flat[i + 1] end
local kept, taken, free = {}, {}, {}
for p = 0, parts - 1 do
  local owner = owners[tostring(p)]
  if owner == me then table.insert(kept, p)
  elseif not owner or not live[owner] then table.insert(free, p) end
end
for _, p in ipairs(free) do
  if #kept + #taken >= share then break end
  redis.call('HSET', KEYS[2], p, me)
  table.insert(taken, p)
end
return {kept, taken, share, #names}
"""

# KEYS members, owners. ARGV member.
LEAVE = """
redis.call('ZREM', KEYS[1], ARGV[1])
local flat = redis.call('HGETALL', KEYS[2])
for i = 1, #flat, 2 do
  if flat[i + 1] == ARGV[1] then redis.call('HDEL', KEYS[2], flat[i]) end
end
return 1
"""

# KEYS stream. Removes what every group has acknowledged; without a group everything.
# Returns {length now, removed, whether there is a group}.
TRIM = """
if redis.call('EXISTS', KEYS[1]) == 0 then return {0, 0, 0} end
local low, low_ms, low_seq
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = {}
  for i = 1, #flat, 2 do group[flat[i]] = flat[i + 1] end
  local ms, seq
  if group['pending'] > 0 then
    ms, seq = string.match(redis.call('XPENDING', KEYS[1], group['name'])[2], '^(%d+)-(%d+)$')
  else
    ms, seq = string.match(group['last-delivered-id'], '^(%d+)-(%d+)$')
    seq = seq + 1
  end
  ms, seq = tonumber(ms), tonumber(seq)
  if not low or ms < low_ms or (ms == low_ms and seq < low_seq) then
    low, low_ms, low_seq = true, ms, seq
  end
end
local removed
if low then
  removed = redis.call('XTRIM', KEYS[1], 'MINID', '=', string.format('%.0f-%.0f', low_ms, low_seq))
else
  removed = redis.call('XTRIM', KEYS[1], 'MAXLEN', '=', 0)
end
return {redis.call('XLEN', KEYS[1]), removed, low and 1 or 0}
"""
