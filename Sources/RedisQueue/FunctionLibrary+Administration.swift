// The functions of init, rebalance, repair and status. Each may be repeated at any time: create only creates, seal only
// seals, the topology's epoch only rises, and only a group that is sealed and empty can be collected.

extension FunctionLibrary {
    static let administrationSource = #"""
        -- keys: queue, seqs, applied, meta; arguments: shard (32 hex digits), owner, the watermarks of the shard's file
        -- as 24-byte records: producer, sequence (LE)
        -- An earlier release gives the first alone. A group without an owner gets it.
        -- CREATED | EXISTING shard state
        register('create', {}, function(keys, args)
          count(keys, 4, args, #args == 1 and 1 or 3)
          check_hex(args[1], 'a shard')
          local cluster, watermarks = args[2], args[3] or ''
          if cluster then check_owner(cluster) end
          if #watermarks % 24 ~= 0 then fail('a record does not have 24 bytes') end
          local meta = read_meta(keys[4])
          if meta then
            if cluster and not meta.cluster then
              must_be_allowed('HSET', keys[4], 'cluster', '')
              redis.call('HSET', keys[4], 'cluster', cluster)
            end
            return {'EXISTING', meta.shard, meta.state}
          end
          if redis.call('EXISTS', keys[1], keys[2], keys[3]) > 0 then
            fail('keys of the group are left without ' .. keys[4] .. ': they come and go together')
          end
          local applied = {}
          for position = 1, #watermarks, 24 do
            local watermark = sequence_at(watermarks, position + 16)
            if watermark > 0 then
              applied[#applied + 1] = {string.sub(watermarks, position, position + 15), digits(watermark)}
            end
          end
          must_be_allowed('HSET', keys[4], 'state', '')
          if #applied > 0 then must_be_allowed('HSET', keys[3], '', '') end
          for _, pair in ipairs(applied) do redis.call('HSET', keys[3], pair[1], pair[2]) end
          redis.call('HSET', keys[4], 'state', 'open', 'shard', args[1], 'bytes', '0', 'token', '0')
          if cluster then redis.call('HSET', keys[4], 'cluster', cluster) end
          return {'CREATED'}
        end)

        -- keys: queue, seqs, applied, meta
        -- NOTOPO | OK
        register('seal', {'allow-oom'}, function(keys, args)
          count(keys, 4, args, 0)
          if not read_meta(keys[4]) then return {'NOTOPO'} end
          must_be_allowed('HSET', keys[4], 'state', '')
          redis.call('HSET', keys[4], 'state', 'sealed')
          return {'OK'}
        end)

        -- keys: queue, seqs, applied, meta
        -- NOTOPO | OPEN | FILLED length | OK
        register('collect', {'allow-oom'}, function(keys, args)
          count(keys, 4, args, 0)
          local meta = read_meta(keys[4])
          if not meta then return {'NOTOPO'} end
          if meta.state ~= 'sealed' then return {'OPEN'} end
          local length = redis.call('LLEN', keys[1])
          if length > 0 then return {'FILLED', length} end
          must_be_allowed('DEL', keys[1], keys[2], keys[3], keys[4])
          redis.call('DEL', keys[1], keys[2], keys[3], keys[4])
          return {'OK'}
        end)

        -- keys: queue, seqs, applied, meta; arguments: the bytes of the oldest entry
        -- NOTOPO | OTHER | OK
        register('bury', {'allow-oom'}, function(keys, args)
          count(keys, 4, args, 1)
          local meta = read_meta(keys[4])
          if not meta then return {'NOTOPO'} end
          if redis.call('LINDEX', keys[1], 0) ~= args[1] then return {'OTHER'} end
          local length = redis.call('LLEN', keys[1])
          must_be_allowed('LTRIM', keys[1], '0', '-1')
          must_be_allowed('HSET', keys[4], 'bytes', '')
          redis.call('LTRIM', keys[1], 1, -1)
          redis.call('HSET', keys[4], 'bytes', digits(length == 1 and 0 or math.max(0, meta.bytes - #args[1])))
          return {'OK'}
        end)

        -- keys: queue, seqs, applied, meta; arguments: most bytes of the oldest batch
        -- NOTOPO | OK state shard length bytes duplicates token owner host ms-left(-1: released) head behind
        --   earlier
        register('inspect', {'no-writes'}, function(keys, args)
          count(keys, 4, args, 1)
          local most = number(args[1], 'most bytes')
          local meta = read_meta(keys[4])
          if not meta then return {'NOTOPO'} end
          local head = redis.call('LINDEX', keys[1], 0) or ''
          local left = meta.lease > 0 and math.max(0, meta.lease - now_ms()) or -1
          return {'OK', meta.state, meta.shard, redis.call('LLEN', keys[1]), meta.bytes, meta.duplicates, meta.token,
            meta.owner, meta.host, left, string.sub(head, 1, most), meta.behind, meta.earlier}
        end)

        local function read_topology(text)
          local is_json, value = pcall(cjson.decode, text)
          if not is_json or type(value) ~= 'table' or type(value.cluster) ~= 'string'
            or type(value.epoch) ~= 'number' or type(value.partitions) ~= 'number' then
            return nil
          end
          return value
        end

        -- keys: topology; arguments: JSON text
        -- NEWER text | OK
        register('topology', {}, function(keys, args)
          count(keys, 1, args, 1)
          local new = read_topology(args[1])
          if not new then fail('the new topology cannot be read') end
          local text = redis.call('GET', keys[1])
          if text then
            local old = read_topology(text)
            if not old then fail(keys[1] .. ' cannot be read: delete it and run `tallymill repair`') end
            if old.cluster ~= new.cluster then
              error({err = 'OTHERCLUSTER ' .. keys[1] .. ' belongs to cluster ' .. old.cluster .. ', not to '
                .. new.cluster})
            end
            if old.epoch > new.epoch then return {'NEWER', text} end
            if old.epoch == new.epoch and old.partitions ~= new.partitions then
              error({err = 'OTHERPARTITIONS epoch ' .. digits(old.epoch) .. ' has ' .. digits(old.partitions)
                .. ' partitions, not ' .. digits(new.partitions)})
            end
          end
          must_be_allowed('SET', keys[1], '')
          redis.call('SET', keys[1], args[1])
          return {'OK'}
        end)
        """#
}
