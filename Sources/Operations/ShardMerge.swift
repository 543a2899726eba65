// One view over K shards: a k-way merge of their cursors in byte order of the keys, in constant memory.
//
// No key is in two shards, so the merge only interleaves. A binary heap holds the cursor of each shard by the key that
// it stands on; the keys stay where SQLite has them.

import ShardStore
import TallyCore

/// Counters of several shards in byte order of their keys.
struct ShardMerge {
    /// A heap: no cursor's key precedes its parent's, at half its index.
    private var cursors: [CounterCursor] = []

    /// Takes over cursors that have not been moved yet.
    init(_ cursors: [CounterCursor]) throws(StoreError) {
        for cursor in cursors where try cursor.next() {
            self.cursors.append(cursor)
            rise(from: self.cursors.count - 1)
        }
    }

    /// The cursor on the next counter, nil at the end. To be followed by `advance`.
    var current: CounterCursor? { cursors.first }

    mutating func advance() throws(StoreError) {
        if try !cursors[0].next() {
            cursors.swapAt(0, cursors.count - 1)
            cursors.removeLast()
        }
        sink()
    }

    private func precedes(_ left: Int, _ right: Int) -> Bool {
        Bytes.compare(cursors[left].key, cursors[right].key) < 0
    }

    private mutating func rise(from start: Int) {
        var child = start
        while child > 0, precedes(child, (child - 1) / 2) {
            cursors.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    private mutating func sink() {
        var parent = 0
        while 2 * parent + 1 < cursors.count {
            let left = 2 * parent + 1
            let child = left + 1 < cursors.count && precedes(left + 1, left) ? left + 1 : left
            guard precedes(child, parent) else { return }
            cursors.swapAt(child, parent)
            parent = child
        }
    }
}
