// The producer's functions. The order of the checks in `push` is the protocol's, and matters: a duplicate is a
// duplicate even in a sealed partition, and nothing new enters it.
//
// The byte limit is a threshold, not a ceiling: a push is refused when the list already holds `limit` bytes or more, so
// that any single batch fits into an empty list. A list exceeds it by less than one batch.

extension FunctionLibrary {
    static let producerSource = #"""
        -- keys: queue, seqs, applied, meta; arguments: producer (16 bytes), sequence, floor, byte limit, payload
        -- NOTOPO | DUP applied | SEALED applied | GAP last applied | FULL applied | OK applied
        register('push', {}, function(keys, args)
          count(keys, 4, args, 5)
          local producer, payload = args[1], args[5]
          local sequence, floor = number(args[2], 'sequence'), number(args[3], 'floor')
          local limit = number(args[4], 'byte limit')
          if sequence < 1 or #producer ~= 16 or #payload < 28 or string.sub(payload, 5, 20) ~= producer
            or sequence_at(payload, 21) ~= sequence then
            fail('the payload does not carry this producer and sequence')
          end

          local state, bytes = read_fill(keys[4])
          if not state then return {'NOTOPO'} end
          local last = number_or_zero(redis.call('HGET', keys[2], producer), 'last sequence')
          local applied = number_or_zero(redis.call('HGET', keys[3], producer), 'watermark')
          if sequence <= last then
            local meta = read_meta(keys[4])
            -- A real write, so that a WAIT behind it covers the batch.
            must_be_allowed('HSET', keys[4], 'duplicates', '')
            redis.call('HSET', keys[4], 'duplicates', digits(meta.duplicates + 1))
            return {'DUP', applied}
          end
          if state == 'sealed' then return {'SEALED', applied} end
          if sequence ~= math.max(last, floor) + 1 then return {'GAP', last, applied} end
          if bytes >= limit then return {'FULL', applied} end

          must_be_allowed('RPUSH', keys[1], '')
          must_be_allowed('HSET', keys[2], producer, '')
          must_be_allowed('HSET', keys[4], 'bytes', '')
          -- The first write: it refuses a key that holds something else.
          redis.call('RPUSH', keys[1], payload)
          redis.call('HSET', keys[2], producer, digits(sequence))
          redis.call('HSET', keys[4], 'bytes', digits(bytes + #payload))
          return {'OK', applied}
        end)

        -- keys: queue, seqs, applied, meta; arguments: producer
        -- NOTOPO | OK last applied
        register('heartbeat', {'no-writes'}, function(keys, args)
          count(keys, 4, args, 1)
          if not read_fill(keys[4]) then return {'NOTOPO'} end
          return {'OK', number_or_zero(redis.call('HGET', keys[2], args[1]), 'last sequence'),
            number_or_zero(redis.call('HGET', keys[3], args[1]), 'watermark')}
        end)
        """#
}
