r"""Queues, cursors and histories as keys of Redis, and the one script that every call runs.

    imctl:messages:user:MID       hash: last, acked, count, bytes (see the queue), and a field `k:KEY` for each
                                  registered connection: "EPOCH HANDED SERVER"
    imctl:messages:queue:MID      list: "TIME_MS OPERATION\nBODY", the oldest first
    imctl:messages:waiting        set: every MID with something in its queue
    imctl:messages:key:KEY        string: the MID whose connection this is
    imctl:messages:history:SCOPE  list: "TIME_MS OPERATION ID BYTES\nBODY"; BYTES is the sum of this body and
                                  all before it, since the history began. Expires with its last push

The numbers of a queue are without gaps and its last is `last`, so they need not
be stored. The hash stays when a user has nothing any more: it holds `last`.

On a cluster the keys of a user have a tag, see imctl.messages.redis_cluster. A script has to name its keys there, so
that it is refused while some of them are moved; what it does to `key:KEY` on one server is up to the caller then.

Redis refuses the first write of a script when it is out of memory, if that
write may need some, and none after it. So every branch that must work then, to
hand over and delete, begins with a write that needs none.
"""

from __future__ import annotations

__all__ = ["PREFIX", "SCRIPT"]

PREFIX = "imctl:messages:"

# ARGV: what to do, the mid or scope, and what that needs. One script, so that either all of a batch's calls find it or
# none does, and their order holds.
SCRIPT = """
local P = 'imctl:messages:'
local what, mid = ARGV[1], ARGV[2]
local clustered = #KEYS > 0
local user, queue = KEYS[1] or P .. 'user:' .. mid, KEYS[2] or P .. 'queue:' .. mid
local waiting, history = KEYS[3] or P .. 'waiting', KEYS[4] or P .. 'history:mid:' .. mid

local function head()
  local h = redis.call('HMGET', user, 'last', 'count', 'bytes', 'acked')
  return tonumber(h[1] or 0), tonumber(h[2] or 0), tonumber(h[3] or 0), tonumber(h[4] or 0)
end

local function cursors()
  local flat, found = redis.call('HGETALL', user), {}
  for i = 1, #flat, 2 do
    if string.sub(flat[i], 1, 2) == 'k:' then
      local epoch, handed, server = string.match(flat[i + 1], '^(%d+) (%d+) (.*)$')
      table.insert(found, {string.sub(flat[i], 3), server, epoch, handed})
    end
  end
  return found
end

local function split(element)
  local at = string.find(element, '\\n', 1, true)
  return string.sub(element, 1, at - 1), string.sub(element, at + 1)
end

local function size(element)
  return #element - string.find(element, '\\n', 1, true)
end

-- Deletes the n oldest messages of count.
local function delete(n, count, bytes)
  if n <= 0 then return bytes end
  if n >= count then
    redis.call('DEL', queue)
    redis.call('SREM', waiting, mid)
    redis.call('HSET', user, 'count', '0', 'bytes', '0')
    return 0
  end
  for _, element in ipairs(redis.call('LRANGE', queue, 0, n - 1)) do bytes = bytes - size(element) end
  redis.call('LTRIM', queue, n, -1)
  redis.call('HSET', user, 'count', string.format('%.0f', count - n), 'bytes', string.format('%.0f', bytes))
  return bytes
end

-- How many of the first n elements of a list have to go for `over` bytes less.
local function too_many(list, over, n)
  local found = 0
  while over > 0 and found < n do
    over = over - size(redis.call('LINDEX', list, found))
    found = found + 1
  end
  return found
end

-- Deletes what is acknowledged (or, with taken '1', need not be) and has been handed to every connection, those on the
-- servers from that argument on left out.
local function delete_done(taken, ignore_from)
  local last, count, bytes, upto = head()
  if count == 0 then return end
  local ignore, least = {}, nil
  for i = ignore_from, #ARGV do ignore[ARGV[i]] = true end
  for _, cursor in ipairs(cursors()) do
    local handed = tonumber(cursor[4])
    if not ignore[cursor[2]] and (not least or handed < least) then least = handed end
  end
  if least then upto = taken == '1' and least or math.min(upto, least) end
  delete(upto - (last - count), count, bytes)
end

-- Deletes the n oldest messages of count; returns how many of them were not acknowledged, and the bytes that are left.
local function delete_unread(n, last, count, bytes, acked)
  local before = last - count
  return math.max(before + n - math.max(before, acked), 0), delete(n, count, bytes)
end

-- Returns an error that Redis has answered with, such as that it is out of memory.
local function record(list, operation, body, time_ms, most, most_bytes, age_s)
  if tonumber(most) <= 0 then return end
  local id, sum = 0, 0
  local newest = redis.call('LINDEX', list, -1)
  if newest then
    local i, s = string.match(newest, '^%d+ %-?%d+ (%d+) (%d+)\\n')
    id, sum = tonumber(i), tonumber(s)
  end
  sum = sum + #body
  local element = string.format('%s %s %.0f %.0f\\n', time_ms, operation, id + 1, sum) .. body
  local length = redis.pcall('RPUSH', list, element)
  if type(length) == 'table' then return length end
  redis.call('EXPIRE', list, age_s)
  while length > 1 do
    local oldest = redis.call('LINDEX', list, 0)
    local before = tonumber(string.match(oldest, '^%d+ %-?%d+ %d+ (%d+)\\n')) - size(oldest)
    if length <= tonumber(most) and sum - before <= tonumber(most_bytes) then break end
    redis.call('LPOP', list)
    length = length - 1
  end
end

local function field(key, epoch, handed, server)
  redis.call('HDEL', user, 'k:' .. key)  -- needs no memory, so it may come first
  redis.call('HSET', user, 'k:' .. key, epoch .. ' ' .. handed .. ' ' .. server)
end

local function cursor_of(key)
  local value = redis.call('HGET', user, 'k:' .. key)
  if not value then return nil end
  return string.match(value, '^(%d+) (%d+) (.*)$')
end

if what == 'offer' then
  -- mid operation body time_ms | messages bytes | history bytes age_s | live: key server ...
  local found, last, count, bytes, acked = cursors(), head()
  local live = false
  if count == 0 then
    for i = 10, #ARGV, 2 do
      for _, cursor in ipairs(found) do
        live = live or (cursor[1] == ARGV[i] and cursor[2] == ARGV[i + 1])
      end
    end
  end
  local reply = {0, 0, 0, {}, 1}
  if not live then
    redis.call('RPUSH', queue, ARGV[5] .. ' ' .. ARGV[3] .. '\\n' .. ARGV[4])
    last, count, bytes = last + 1, count + 1, bytes + #ARGV[4]
    redis.call('HSET', user, 'last', string.format('%.0f', last), 'count', string.format('%.0f', count),
      'bytes', string.format('%.0f', bytes))
    if count == 1 then redis.call('SADD', waiting, mid) end
    local over, over_count, over_bytes = math.max(count - tonumber(ARGV[6]), 0)
    over_count, bytes = delete_unread(over, last, count, bytes, acked)
    count = count - over
    over = too_many(queue, bytes - tonumber(ARGV[7]), count - 1)
    over_bytes = delete_unread(over, last, count, bytes, acked)
    reply = {last, over_count, over_bytes, found, 1}
  end
  local refused = record(history, ARGV[3], ARGV[4], ARGV[5], ARGV[8], ARGV[7], ARGV[9])
  if refused and not (live and string.find(refused.err, 'OOM', 1, true)) then return refused end
  if refused then reply[5] = 0 end
  return reply

elseif what == 'record' then
  -- scope operation body time_ms most bytes age_s
  return record(KEYS[1] or P .. 'history:' .. mid, ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]) or 1

elseif what == 'open' then
  -- mid key server epoch again; a cursor with this epoch goes on where it is, and with again '1' any on this server
  local last, count, _, acked = head()
  local key, server, epoch, handed = ARGV[3], ARGV[4], ARGV[5], acked
  local owner = not clustered and redis.call('GET', P .. 'key:' .. key)
  if owner and owner ~= mid then redis.call('HDEL', P .. 'user:' .. owner, 'k:' .. key) end
  local e, h, s = cursor_of(key)
  if s == server and (ARGV[6] == '1' or e == epoch) then
    epoch, handed = e, tonumber(h)
  else
    field(key, epoch, string.format('%.0f', handed), server)
  end
  if owner ~= mid and not clustered then redis.call('SET', P .. 'key:' .. key, mid) end
  return {epoch, string.format('%.0f', handed), (count > 0 and handed < last) and 1 or 0}

elseif what == 'close' then
  -- mid key server epoch unbound taken: with this epoch or, both 0 for none, from `unbound` on; returns what it had
  local e, h, s = cursor_of(ARGV[3])
  if s ~= ARGV[4] then return 0 end
  local any, unbound = ARGV[5] == '0', ARGV[6] ~= '0' and tonumber(e) >= tonumber(ARGV[6])
  if not (any or unbound or e == ARGV[5]) then return 0 end
  redis.call('HDEL', user, 'k:' .. ARGV[3])
  if not clustered then redis.call('DEL', P .. 'key:' .. ARGV[3]) end
  delete_done(ARGV[7], 8)
  return e

elseif what == 'forget' then
  -- mid key epoch
  if cursor_of(ARGV[3]) == ARGV[4] then redis.call('HDEL', user, 'k:' .. ARGV[3]) end
  return 1

elseif what == 'waiting' then
  -- mid key oldest_ms messages bytes
  local e, h, s = cursor_of(ARGV[3])
  if not e then return nil end
  local last, count = head()
  local first = last - count + 1
  local at = math.max(tonumber(h) + 1, first) - first
  local found, bytes = {}, 0
  while true do
    local elements = redis.call('LRANGE', queue, at, at + 15)
    for _, element in ipairs(elements) do
      local words, body = split(element)
      local time_ms, operation = string.match(words, '^(%d+) (%-?%d+)$')
      if #found > 0 or tonumber(time_ms) >= tonumber(ARGV[4]) then
        bytes = bytes + #body
        if #found >= tonumber(ARGV[5]) or (#found > 0 and bytes > tonumber(ARGV[6])) then
          return {s, e, h, found}
        end
        table.insert(found, {string.format('%.0f', first + at), operation, body, time_ms})
      end
      at = at + 1
    end
    if #elements < 16 then break end
  end
  return {s, e, h, found}

elseif what == 'advance' then
  -- mid key epoch handed_before handed_after delete_taken ignore ...
  local e, h, s = cursor_of(ARGV[3])
  if e ~= ARGV[4] or h ~= ARGV[5] then return 0 end
  field(ARGV[3], e, ARGV[6], s)
  delete_done(ARGV[7], 8)
  return 1

elseif what == 'acknowledge' then
  -- mid sequence delete_taken; the arithmetic is that of ids.py
  local last, count, bytes, acked = head()
  local sequences, sequence = 2147483647, tonumber(ARGV[3])
  if count == 0 or sequence < 1 then return 0 end
  local id = last - ((last - 1) % sequences + 1 - sequence) % sequences
  local n = math.max(id - math.max(acked, last - count), 0)
  if n > 0 then
    redis.call('HDEL', user, 'acked')  -- needs no memory, so it may come first
    redis.call('HSET', user, 'acked', string.format('%.0f', id))
    delete_done(ARGV[4], 5)
  end
  return n

elseif what == 'queue' then
  local last, count, bytes = head()
  local oldest = redis.call('LINDEX', queue, 0)
  return {string.format('%.0f', last), count, string.format('%.0f', bytes),
    oldest and string.match(oldest, '^%d+') or false, cursors()}

elseif what == 'history' then
  return redis.call('LRANGE', KEYS[1] or P .. 'history:' .. mid, 0, -1)

elseif what == 'delete' then
  local last, count, bytes = head()
  redis.call('DEL', history)
  delete(count, count, bytes)
  return count

elseif what == 'expire' then
  -- mid oldest_ms most delete_taken ignore ...; returns what was too old, the last id, and the cursors unless nothing
  -- waits
  local last, count, bytes, acked = head()
  local n = 0
  while n < tonumber(ARGV[4]) do
    local element = redis.call('LINDEX', queue, n)
    if not element or tonumber(string.match(element, '^%d+')) >= tonumber(ARGV[3]) then break end
    n = n + 1
  end
  n = delete_unread(n, last, count, bytes, acked)
  if #ARGV > 5 then delete_done(ARGV[5], 6) end
  last, count = head()
  return {n, string.format('%.0f', last), count > 0 and cursors() or false}
end
return redis.error_reply('unknown call ' .. what)
"""
