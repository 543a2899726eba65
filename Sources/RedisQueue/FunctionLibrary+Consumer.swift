// The consumer's functions: the lease, and the queue's head.
//
// The lease keeps consumers on other hosts away, for a while and by Redis' clock; on one host the lock on the shard
// file does. Exactness rests on neither: it rests on the shard's transaction, and the token guards the queue against a
// consumer of another file, whose trim is refused.
//
// Trim is compare-and-pop. What may be popped comes as a set of identities, never as a number of entries: a repeated,
// late or rolled-back trim then pops what is committed, or nothing.

extension FunctionLibrary {
    static let consumerSource = #"""
        local function is_name(text)
          return #text >= 1 and #text <= NAME_BYTES_MAX
        end

        -- keys: queue, seqs, applied, meta; arguments: host, holder, time to live in ms, token, owner of the group,
        -- and, unless it is a tool, the shard whose file it has
        -- An earlier release gives the first three, and gets the next number as its token.
        -- NOTOPO | OTHER shard | HELD owner ms | GRANTED token shard state {producer, watermark, ...}
        register('claim', {'allow-oom'}, function(keys, args)
          count(keys, 4, args, (#args == 3 or #args == 6) and #args or 5)
          local host, owner, ttl = args[1], args[2], number(args[3], 'time to live')
          if not is_name(host) or not is_name(owner) then fail('host and owner have 1 to 255 bytes') end
          local meta = read_meta(keys[4])
          if not meta then return {'NOTOPO'} end
          -- The lease is for whoever has the right file.
          if args[6] and args[6] ~= meta.shard then return {'OTHER', meta.shard} end
          local now = now_ms()
          if meta.lease > now and meta.host ~= host then return {'HELD', meta.owner, meta.lease - now} end
          local applied = redis.call('HGETALL', keys[3])
          local token = args[4] and number(args[4], 'token') or meta.token % (LIMIT - 1) + 1
          if token < 1 then fail('a token is above 0') end
          if args[5] then check_owner(args[5]) end
          must_be_allowed('HSET', keys[4], 'token', '')
          if args[5] and not meta.cluster then redis.call('HSET', keys[4], 'cluster', args[5]) end
          redis.call('HSET', keys[4], 'token', digits(token), 'lease', digits(now + ttl), 'host', host, 'owner', owner)
          return {'GRANTED', token, meta.shard, meta.state, applied}
        end)

        -- keys: queue, seqs, applied, meta; arguments: token, time to live in ms
        -- NOTOPO | FENCED | OK
        register('renew', {'allow-oom'}, function(keys, args)
          count(keys, 4, args, 2)
          local token, ttl = number(args[1], 'token'), number(args[2], 'time to live')
          local meta = read_meta(keys[4])
          if not meta then return {'NOTOPO'} end
          if token < 1 or token ~= meta.token then return {'FENCED'} end
          must_be_allowed('HSET', keys[4], 'lease', '')
          redis.call('HSET', keys[4], 'lease', digits(now_ms() + ttl))
          return {'OK'}
        end)

        -- keys: queue, seqs, applied, meta; arguments: token
        -- NOTOPO | FENCED | OK
        register('release', {'allow-oom'}, function(keys, args)
          count(keys, 4, args, 1)
          local token = number(args[1], 'token')
          local meta = read_meta(keys[4])
          if not meta then return {'NOTOPO'} end
          if token < 1 or token ~= meta.token then return {'FENCED'} end
          must_be_allowed('HDEL', keys[4], 'lease')
          redis.call('HDEL', keys[4], 'lease', 'host', 'owner')
          return {'OK'}
        end)

        -- keys: queue, seqs, applied, meta; arguments: most bytes, most batches, and entries to skip if any are
        -- a single larger batch is returned
        -- NOTOPO | OK shard state length {payload, ...} time-ms behind earlier
        register('peek', {'no-writes'}, function(keys, args)
          count(keys, 4, args, #args == 3 and 3 or 2)
          local most_bytes, most_batches = number(args[1], 'most bytes'), number(args[2], 'most batches')
          local skip = number_or_zero(args[3], 'entries to skip')
          local meta = read_meta(keys[4])
          if not meta then return {'NOTOPO'} end
          local length, bytes, payloads = redis.call('LLEN', keys[1]), 0, {}
          walk(keys[1], skip, math.min(length, skip + most_batches), meta.bytes, function(entry)
            bytes = bytes + #entry
            if #payloads > 0 and bytes > most_bytes then return false end
            payloads[#payloads + 1] = entry
            return bytes < most_bytes
          end)
          return {'OK', meta.shard, meta.state, length, payloads, now_ms(), meta.behind,
            meta.earlier}
        end)

        -- Reads records of a name of `bytes` bytes and a watermark: `reached` gets all, `raised` those that are news.
        local function read_watermarks(records, bytes, key, raised, reached)
          for position = 1, #records, bytes + 8 do
            local name, watermark = string.sub(records, position, position + bytes - 1),
              sequence_at(records, position + bytes)
            reached[name] = watermark
            if watermark > number_or_zero(redis.call('HGET', key, name), 'watermark') then
              raised[#raised + 1] = {name, digits(watermark)}
            end
          end
        end

        -- keys: queue, seqs, applied, meta
        -- arguments: token, identities that may be popped, watermarks; both as 24-byte records: producer, sequence
        -- (LE); and, if any are, watermarks of streams of earlier epochs as 32-byte records: producer, epoch,
        -- partition, sequence (LE)
        -- NOTOPO | FENCED | OK popped
        register('trim', {'allow-oom'}, function(keys, args)
          count(keys, 4, args, #args == 4 and 4 or 3)
          local token, committed = number(args[1], 'token'), args[2]
          if #committed % 24 ~= 0 or #args[3] % 24 ~= 0 or #(args[4] or '') % 32 ~= 0 then
            fail('a record does not have 24 bytes, or 32')
          end
          local meta = read_meta(keys[4])
          if not meta then return {'NOTOPO'} end
          if token < 1 or token ~= meta.token then return {'FENCED'} end

          local may_pop = {}
          for position = 1, #committed, 24 do may_pop[string.sub(committed, position, position + 23)] = true end
          local length, popped, bytes = redis.call('LLEN', keys[1]), 0, 0
          walk(keys[1], 0, math.min(length, #committed / 24), meta.bytes, function(entry)
            if not may_pop[string.sub(entry, 5, 28)] then return false end
            popped, bytes = popped + 1, bytes + #entry
            return true
          end)
          local raised, reached = {}, {}
          read_watermarks(args[3], 16, keys[3], raised, reached)
          read_watermarks(args[4] or '', 24, keys[3], raised, reached)
          local behind, earlier = still_behind(meta.behind, 16, reached), still_behind(meta.earlier, 24, reached)

          must_be_allowed('LTRIM', keys[1], '0', '-1')
          must_be_allowed('HSET', keys[3], '', '')
          must_be_allowed('HSET', keys[4], 'bytes', '')
          if popped > 0 then
            redis.call('LTRIM', keys[1], popped, -1)
            -- An empty list holds nothing, whatever a damaged count says.
            local left = popped == length and 0 or math.max(0, meta.bytes - bytes)
            redis.call('HSET', keys[4], 'bytes', digits(left))
          end
          for _, pair in ipairs(raised) do redis.call('HSET', keys[3], pair[1], pair[2]) end
          if behind ~= meta.behind then redis.call('HSET', keys[4], 'behind', behind) end
          if earlier ~= meta.earlier then redis.call('HSET', keys[4], 'earlier', earlier) end
          return {'OK', popped}
        end)
        """#
}
