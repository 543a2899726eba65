// The auditor's function: what a key group holds, all of it as of one moment, however long the list is.
//
// A list of any length cannot be returned in one answer without keeping Redis from its nodes, so it comes in pages. For
// that every entry has a number that pushes and trims do not change: a push raises the sum of all `seqs` by one and a
// trim shortens the list, so that sum, less the length of the list, is the number of the oldest entry. Entries never
// change, and leave only at the head. The page that reaches the end of the list (`OK`) brings `seqs`, `applied` and the
// number of the head of its own moment; what earlier pages (`PART`) showed of entries from that number on is still so.
//
// Numbers shift when Redis goes back in time (then the connection breaks, and the walk with it), when a sequence jumps
// over a floor after that, or when somebody changes the keys by hand. So each page begins with the last entry of the
// one before, as long as that is in the list, and the caller compares.

extension FunctionLibrary {
    static let ledgerSource = #"""
        -- keys: queue, seqs, applied, meta
        -- arguments: number of the first entry (0: the oldest), most bytes, most entries, most bytes of an entry
        -- two entries are looked at however large they are
        -- NOTOPO
        -- PART number-of-first {entry, length, ...}
        -- OK number-of-first {entry, length, ...} number-of-head shard state bytes {producer, last, ...}
        --   {producer, watermark, ...}
        register('ledger', {'no-writes'}, function(keys, args)
          count(keys, 4, args, 4)
          local from, most_bytes = number(args[1], 'first entry'), number(args[2], 'most bytes')
          local most_entries, most_of_entry = number(args[3], 'most entries'), number(args[4], 'most bytes of an entry')
          local meta = read_meta(keys[4])
          if not meta then return {'NOTOPO'} end

          local seqs, pushed = redis.call('HGETALL', keys[2]), 0
          for index = 2, #seqs, 2 do
            local last = read_last(seqs[index])
            seqs[index] = digits(last)
            pushed = pushed + last
          end
          if pushed >= LIMIT then fail('the sequences add up to more than 2^53') end
          local length = redis.call('LLEN', keys[1])
          -- Below zero only if somebody deleted sequences by hand.
          local head = math.max(0, pushed - length)
          local first = from == 0 and 0 or math.min(length, math.max(0, from - head))

          -- The entry that shows that the numbers hold, and at least one that is new.
          local least = 2
          local bytes, entries = 0, {}
          walk(keys[1], first, math.min(length, first + math.max(most_entries, least)), meta.bytes, function(entry)
            if #entries >= 2 * least and bytes + #entry > most_bytes then return false end
            bytes = bytes + #entry
            entries[#entries + 1] = string.sub(entry, 1, most_of_entry)
            entries[#entries + 1] = #entry
            return #entries < 2 * least or bytes < most_bytes
          end)
          if first + #entries / 2 < length then return {'PART', head + first, entries} end
          return {'OK', head + first, entries, head, meta.shard, meta.state, meta.bytes, seqs,
            redis.call('HGETALL', keys[3])}
        end)
        """#
}
