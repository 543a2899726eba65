// What all functions of the library use: refusing, reading numbers and groups, walking the list in small pieces.
//
// `fail` raises an error with the code TALLYMILL; it is called before the first write only.

extension FunctionLibrary {
    static let sharedSource = #"""
        local LIMIT = 9007199254740992  -- 2^53: beyond it a double skips integers
        local NAME_BYTES_MAX = 255

        local function fail(text)
          error({err = 'TALLYMILL ' .. text})
        end

        local function register(name, flags, callback)
          redis.register_function{function_name = PREFIX .. name, callback = callback, flags = flags}
        end

        local function count(keys, key_count, args, argument_count)
          if #keys ~= key_count or #args ~= argument_count then
            fail('wrong number of keys or arguments: run the same version of tallymill everywhere')
          end
        end

        local function digits(value)
          return string.format('%.0f', value)
        end

        -- The number in a decimal text; `what` names it in the refusal.
        local function number(text, what)
          if text == '0' then return 0 end
          if type(text) ~= 'string' or #text > 16 or not string.find(text, '^%d+$') then
            fail(what .. ' is not a number')
          end
          local value = tonumber(text)
          if value >= LIMIT then fail(what .. ' is not below 2^53') end
          return value
        end

        local function number_or_zero(text, what)
          return text and number(text, what) or 0
        end

        -- 8 bytes, little-endian.
        local function sequence_at(bytes, position)
          local a, b, c, d, e, f, g, h = string.byte(bytes, position, position + 7)
          if h ~= 0 or g > 31 then fail('a sequence is not below 2^53') end
          return ((((((g * 256 + f) * 256 + e) * 256 + d) * 256 + c) * 256 + b) * 256) + a
        end

        -- The other way round.
        local function sequence_bytes(value)
          local bytes = {}
          for index = 1, 8 do
            bytes[index] = value % 256
            value = (value - bytes[index]) / 256
          end
          return string.char(unpack(bytes))
        end

        -- Last sequence and chain in a value of `seqs`: the decimal number, and, unless an earlier release pushed it,
        -- a blank and the 8 bytes of the chain.
        local function read_last(text)
          if not text then return 0, '' end
          if string.byte(text, -9) ~= 32 then return number(text, 'last sequence'), '' end
          return number(string.sub(text, 1, -10), 'last sequence'), string.sub(text, -8)
        end

        -- Refuses unless the caller may run the write: an ACL would stop it half-way otherwise.
        local function must_be_allowed(...)
          if not redis.acl_check_cmd(...) then
            local name = ...
            error({err = 'NOPERM tallymill needs the permission for ' .. name .. ' on its keys'})
          end
        end

        local function check_state(key, state)
          if state == 'open' or state == 'sealed' then return state end
          if state then fail(key .. ' has an unknown state') end
          if redis.call('EXISTS', key) == 1 then fail(key .. ' has no state') end
        end

        -- State, bytes and cluster of the group, or nil if there is no group: the part of its meta that every push asks
        -- for.
        local function read_fill(key)
          local field = redis.call('HMGET', key, 'state', 'bytes', 'cluster')
          return check_state(key, field[1]), number_or_zero(field[2], 'bytes'), field[3]
        end

        -- The group's meta, or nil if there is no group.
        local function read_meta(key)
          local field = redis.call('HMGET', key, 'state', 'shard', 'bytes', 'token', 'lease', 'host', 'owner',
            'duplicates', 'cluster', 'behind', 'earlier')
          if not check_state(key, field[1]) then return nil end
          if not field[2] or #field[2] ~= 32 then fail(key .. ' has no shard') end
          return {
            state = field[1], shard = field[2], bytes = number_or_zero(field[3], 'bytes'),
            token = number_or_zero(field[4], 'token'), lease = number_or_zero(field[5], 'lease'),
            host = field[6] or '', owner = field[7] or '', duplicates = number_or_zero(field[8], 'duplicates'),
            cluster = field[9] or nil, behind = field[10] or '', earlier = field[11] or '',
          }
        end

        local function check_hex(text, what)
          if #text ~= 32 or not string.find(text, '^%x+$') then fail(what .. ' is named by 32 hex digits') end
        end

        -- A cluster, and how many partitions its epoch has.
        local function check_owner(text)
          if #text < 34 or not string.find(text, '^' .. string.rep('%x', 32) .. '/%d+$') then
            fail('an owner has 32 hex digits, a slash and a number')
          end
        end

        local function now_ms()
          local time = redis.call('TIME')
          return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
        end

        -- Calls `visit` with the entries from `first` to before `last`, in order, until it returns false. About 256 KiB
        -- are in Lua at a time.
        local function walk(key, first, last, bytes, visit)
          local average = math.max(1, bytes / math.max(1, last))
          local step = math.max(1, math.min(128, math.floor(262144 / average)))
          while first < last do
            local entries = redis.call('LRANGE', key, first, math.min(first + step, last) - 1)
            for _, entry in ipairs(entries) do
              if not visit(entry) then return end
            end
            first = first + step
          end
        end

        -- What is left of records of a name of `bytes` bytes and a floor, once the watermarks of `reached` are.
        local function still_behind(records, bytes, reached)
          local left, size = {}, bytes + 8
          for position = 1, #records - size + 1, size do
            local watermark = reached[string.sub(records, position, position + bytes - 1)]
            if not watermark or watermark < sequence_at(records, position + bytes) then
              left[#left + 1] = string.sub(records, position, position + size - 1)
            end
          end
          return table.concat(left)
        end

        register('revision', {'no-writes'}, function(keys, args)
          return REVISION
        end)
        """#
}
