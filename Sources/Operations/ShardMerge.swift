// One view over K shards: a k-way merge of their cursors in byte order of the keys, in constant memory.
//
// No key is in two shards, so the merge only interleaves. A binary heap holds the next counter of each shard.

import ShardStore

/// Counters of several shards in byte order of their keys.
struct ShardMerge {
    private struct Head {
        let counter: ShardReader.Counter
        let cursor: ShardReader.Cursor

        func precedes(_ other: Head) -> Bool {
            counter.key.lexicographicallyPrecedes(other.counter.key)
        }
    }

    /// A heap: no head precedes its parent, at half its index.
    private var heads: [Head] = []

    init(_ cursors: [ShardReader.Cursor]) throws(StoreError) {
        for cursor in cursors {
            guard let counter = try cursor.next() else { continue }
            heads.append(Head(counter: counter, cursor: cursor))
            rise(from: heads.count - 1)
        }
    }

    /// The next counter, nil at the end.
    mutating func next() throws(StoreError) -> ShardReader.Counter? {
        guard let first = heads.first else { return nil }
        if let counter = try first.cursor.next() {
            heads[0] = Head(counter: counter, cursor: first.cursor)
        } else {
            heads.swapAt(0, heads.count - 1)
            heads.removeLast()
        }
        sink()
        return first.counter
    }

    private mutating func rise(from start: Int) {
        var child = start
        while child > 0 {
            let parent = (child - 1) / 2
            guard heads[child].precedes(heads[parent]) else { return }
            heads.swapAt(child, parent)
            child = parent
        }
    }

    private mutating func sink() {
        var parent = 0
        while true {
            let left = 2 * parent + 1
            guard left < heads.count else { return }
            let right = left + 1
            let child = right < heads.count && heads[right].precedes(heads[left]) ? right : left
            guard heads[child].precedes(heads[parent]) else { return }
            heads.swapAt(child, parent)
            parent = child
        }
    }
}
