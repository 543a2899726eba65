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
    /// A heap: no cursor's key precedes its parent's, at half its index.
    private var cursors: [Cursor] = []

    /// Takes over cursors that have not been moved yet.
    init(_ cursors: [Cursor]) throws(Cursor.Failure) {
        for cursor in cursors where try cursor.next() {
            self.cursors.append(cursor)
            rise(from: self.cursors.count - 1)
        }
    }

    /// The cursor on the next row, nil at the end. To be followed by `advance`.
    var current: Cursor? { cursors.first }

    mutating func advance() throws(Cursor.Failure) {
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
