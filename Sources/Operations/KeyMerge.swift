// A k-way merge of cursors in byte order of their keys, in constant memory.
//
// A binary heap holds the cursors by the key that each stands on; the keys stay where the cursors have them. Equal keys
// come one after the other, in no particular order.

import TallyCore

/// A walk in ascending byte order of keys.
protocol KeyCursor {
    associatedtype Failure: Error

    /// Goes to the next row, or the first; false after the last.
    func next() throws(Failure) -> Bool
    /// Valid until the next call of `next`.
    var key: UnsafeRawBufferPointer { get }
}

/// Rows of several cursors in byte order of their keys.
struct KeyMerge<Cursor: KeyCursor> {
    /// A cursor and the key that it stands on, asked for once.
    private struct Head {
        let cursor: Cursor
        var key = UnsafeRawBufferPointer(start: nil, count: 0)

        /// Goes to the next row; false after the last.
        @inline(__always)
        mutating func next() throws(Cursor.Failure) -> Bool {
            guard try cursor.next() else { return false }
            key = cursor.key
            return true
        }
    }

    /// A heap: no cursor's key precedes its parent's, at half its index.
    private var heads: [Head] = []

    /// Takes over cursors that have not been moved yet.
    init(_ cursors: [Cursor]) throws(Cursor.Failure) {
        for cursor in cursors {
            var head = Head(cursor: cursor)
            guard try head.next() else { continue }
            heads.append(head)
            rise(from: heads.count - 1)
        }
    }

    /// The cursor on the next row, nil at the end. To be followed by `advance`.
    var current: Cursor? { heads.first?.cursor }

    mutating func advance() throws(Cursor.Failure) {
        if try !heads[0].next() {
            heads.swapAt(0, heads.count - 1)
            heads.removeLast()
        }
        sink()
    }

    @inline(__always)
    private func precedes(_ left: Int, _ right: Int) -> Bool {
        Bytes.compare(heads[left].key, heads[right].key) < 0
    }

    private mutating func rise(from start: Int) {
        var child = start
        while child > 0, precedes(child, (child - 1) / 2) {
            heads.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    private mutating func sink() {
        var parent = 0
        while 2 * parent + 1 < heads.count {
            let left = 2 * parent + 1
            let child = left + 1 < heads.count && precedes(left + 1, left) ? left + 1 : left
            guard precedes(child, parent) else { return }
            heads.swapAt(child, parent)
            parent = child
        }
    }
}
