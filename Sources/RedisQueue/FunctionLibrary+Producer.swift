// The producer's functions. The order of the checks in `push` is the protocol's, and matters: a duplicate is a
// duplicate even in a sealed partition, and nothing new enters it.
//
// The byte limit is a threshold, not a ceiling: a push is refused when the list already holds `limit` bytes or more, so
// that any single batch fits into an empty list. A list exceeds it by less than one batch.

extension FunctionLibrary {
    static let producerSource = #"""
        -- Where the record of a producer begins in `behind`, or nil.
        local function find_behind(behind, producer)
          local position = string.find(behind, producer, 1, true)
          while position and position % 24 ~= 1 do position = string.find(behind, producer, position + 1, true) end
          return position
        end

        -- Notes that the producer has released more than its shard seems to have. The highest floor stays.
        local function note_behind(key, producer, floor)
          local behind = redis.call('HGET', key, 'behind') or ''
          local position = find_behind(behind, producer)
          if position and sequence_at(behind, position + 16) >= floor then return end
          if not position and #behind >= 24 * BEHIND_MAX then return end
          position = position or #behind + 1
          must_be_allowed('HSET', key, 'behind', '')
          redis.call('HSET', key, 'behind', string.sub(behind, 1, position - 1) .. producer .. sequence_bytes(floor)
            .. string.sub(behind, position + 24))
        end

        -- Nodes give one byte limit again and again.
        local limit_text, limit_number = '0', 0
        local function byte_limit(text)
          if text ~= limit_text then limit_number, limit_text = number(text, 'byte limit'), text end
          return limit_number
        end

        -- keys: queue, seqs, applied, meta; arguments: producer (16 bytes), sequence, floor, byte limit, payload,
        -- cluster (32 hex digits), chain through the batch before and through this one (8 bytes each)
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
          if is_chained and (#args[6] ~= 32 or #args[7] ~= 8 or #args[8] ~= 8) then
            fail('a cluster is named by 32 hex digits, and a chain has 8 bytes')
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

        -- keys: queue, seqs, applied, meta; arguments: producer
        -- NOTOPO | OK last applied
        register('heartbeat', {'no-writes'}, function(keys, args)
          count(keys, 4, args, 1)
          if not read_fill(keys[4]) then return {'NOTOPO'} end
          return {'OK', (read_last(redis.call('HGET', keys[2], args[1]))),
            number_or_zero(redis.call('HGET', keys[3], args[1]), 'watermark')}
        end)
        """#
}
