// The producer's functions. The order of the checks in `push` is the protocol's, and matters: a duplicate is a
// duplicate even in a sealed partition, and nothing new enters it.
//
// The byte limit is a threshold, not a ceiling: a push is refused when the list already holds `limit` bytes or more, so
// that any single batch fits into an empty list. A list exceeds it by less than one batch.

extension FunctionLibrary {
    static let producerSource = #"""
        -- Where the record of a name begins among records of a name and a floor, or nil.
        local function find_floor(records, name)
          local size = #name + 8
          local position = string.find(records, name, 1, true)
          while position and position % size ~= 1 do position = string.find(records, name, position + 1, true) end
          return position
        end

        -- The records with one of a name and its floor. The highest floor stays.
        local function with_floor(records, name, floor)
          local size = #name + 8
          local position = find_floor(records, name)
          if position and sequence_at(records, position + #name) >= floor then return records end
          if not position and #records >= size * BEHIND_MAX then return records end
          position = position or #records + 1
          return string.sub(records, 1, position - 1) .. name .. sequence_bytes(floor)
            .. string.sub(records, position + size)
        end

        -- Notes that the producer has released more than its shard seems to have.
        local function note_behind(key, producer, floor)
          local behind = redis.call('HGET', key, 'behind') or ''
          local noted = with_floor(behind, producer, floor)
          if noted == behind then return end
          must_be_allowed('HSET', key, 'behind', '')
          redis.call('HSET', key, 'behind', noted)
        end

        -- Nodes give one byte limit again and again.
        local limit_text, limit_number = '0', 0
        local function byte_limit(text)
          if text ~= limit_text then limit_number, limit_text = number(text, 'byte limit'), text end
          return limit_number
        end

        -- keys: queue, seqs, applied, meta; arguments: producer (16 bytes), sequence, floor, byte limit, payload,
        -- owner, chain through the batch before and through this one (8 bytes each)
        -- An earlier release gives the first five, and is told neither BEHIND nor CONFLICT.
        -- NOTOPO | DUP applied last chain | SEALED applied | BEHIND applied | GAP last applied | CONFLICT
        -- | FULL applied | OK applied
        register('push', {}, function(keys, args)
          count(keys, 4, args, #args == 5 and 5 or 8)
          local producer, payload, is_chained = args[1], args[5], #args == 8
          local floor, limit = number(args[3], 'floor'), byte_limit(args[4])
          if #producer ~= 16 or #payload < 28 or string.sub(payload, 5, 20) ~= producer then
            fail('the payload does not carry this producer and sequence')
          end
          local sequence = sequence_at(payload, 21)
          local sequence_text = digits(sequence)
          if sequence < 1 or args[2] ~= sequence_text then
            fail('the payload does not carry this producer and sequence')
          end
          if is_chained and (#args[6] < 34 or #args[7] ~= 8 or #args[8] ~= 8) then
            fail('an owner has 32 hex digits, a slash and a number, and a chain has 8 bytes')
          end

          local state, bytes, cluster = read_fill(keys[4])
          if not state or is_chained and cluster and cluster ~= args[6] then return {'NOTOPO'} end
          local last, chain = read_last(redis.call('HGET', keys[2], producer))
          local applied = number_or_zero(redis.call('HGET', keys[3], producer), 'watermark')
          if sequence <= last then
            local meta = read_meta(keys[4])
            -- A real write, so that a WAIT behind it covers the batch.
            must_be_allowed('HSET', keys[4], 'duplicates', '')
            redis.call('HSET', keys[4], 'duplicates', digits(meta.duplicates + 1))
            return {'DUP', applied, last, chain}
          end
          if state == 'sealed' then return {'SEALED', applied} end
          if is_chained and floor > math.max(last, applied) then
            note_behind(keys[4], producer, floor)
            return {'BEHIND', applied}
          end
          if sequence ~= math.max(last, floor) + 1 then return {'GAP', last, applied} end
          if is_chained and sequence == last + 1 and chain ~= '' and chain ~= args[7] then return {'CONFLICT'} end
          if bytes >= limit then return {'FULL', applied} end

          must_be_allowed('RPUSH', keys[1], '')
          must_be_allowed('HSET', keys[2], producer, '')
          must_be_allowed('HSET', keys[4], 'bytes', '')
          -- The first write: it refuses a key that holds something else.
          redis.call('RPUSH', keys[1], payload)
          redis.call('HSET', keys[2], producer, is_chained and sequence_text .. ' ' .. args[8] or sequence_text)
          redis.call('HSET', keys[4], 'bytes', digits(bytes + #payload))
          return {'OK', applied}
        end)

        -- keys: queue, seqs, applied, meta; arguments: producer, floor, owner
        -- An earlier release gives the first alone, and nothing is noted.
        -- NOTOPO | OK last applied
        register('heartbeat', {'allow-oom'}, function(keys, args)
          count(keys, 4, args, #args == 1 and 1 or 3)
          local state, _, cluster = read_fill(keys[4])
          if not state or args[3] and cluster and cluster ~= args[3] then return {'NOTOPO'} end
          local last = read_last(redis.call('HGET', keys[2], args[1]))
          local applied = number_or_zero(redis.call('HGET', keys[3], args[1]), 'watermark')
          local floor = number_or_zero(args[2], 'floor')
          if floor > math.max(last, applied) then note_behind(keys[4], args[1], floor) end
          return {'OK', last, applied}
        end)

        -- keys: queue, seqs, applied, meta; arguments: owner, floors of streams of earlier epochs as 32-byte records:
        -- producer, epoch, partition, sequence (LE)
        -- What the shard is not known to reach is noted, for its consumer to look up.
        -- NOTOPO | OK text: for each floor 1 if the shard is known to reach it, else 0
        register('compare', {'allow-oom'}, function(keys, args)
          count(keys, 4, args, 2)
          local owner, floors = args[1], args[2]
          check_owner(owner)
          if #floors % 32 ~= 0 then fail('a record does not have 32 bytes') end
          local meta = read_meta(keys[4])
          if not meta or meta.cluster and meta.cluster ~= owner then return {'NOTOPO'} end
          local known, noted = {}, meta.earlier
          for position = 1, #floors, 32 do
            local name, floor = string.sub(floors, position, position + 23), sequence_at(floors, position + 24)
            local is_known = number_or_zero(redis.call('HGET', keys[3], name), 'watermark') >= floor
            known[#known + 1] = is_known and '1' or '0'
            if not is_known then noted = with_floor(noted, name, floor) end
          end
          if noted ~= meta.earlier then
            must_be_allowed('HSET', keys[4], 'earlier', '')
            redis.call('HSET', keys[4], 'earlier', noted)
          end
          return {'OK', table.concat(known)}
        end)

        -- keys: noted; arguments: owner, epoch
        -- OK
        register('note', {'allow-oom'}, function(keys, args)
          count(keys, 1, args, 2)
          local owner, epoch = args[1], number(args[2], 'epoch')
          check_owner(owner)
          if epoch > number_or_zero(redis.call('HGET', keys[1], owner), 'epoch') then
            must_be_allowed('HSET', keys[1], owner, '')
            redis.call('HSET', keys[1], owner, digits(epoch))
          end
          return {'OK'}
        end)
        """#
}
