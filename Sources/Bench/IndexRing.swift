/// A queue of numbers with room for a known count of them. Each connection stands in it once at most.
struct IndexRing {
    private var storage: [Int32]
    private var head = 0
    private(set) var count = 0

    init(capacity: Int) {
        storage = Array(repeating: 0, count: max(1, capacity))
    }

    var isEmpty: Bool { count == 0 }

    /// The one that has been in it longest.
    var first: Int? { isEmpty ? nil : Int(storage[head]) }

    mutating func append(_ index: Int) {
        precondition(count < storage.count, "more numbers than there is room for")
        let end = head + count
        storage[end < storage.count ? end : end - storage.count] = Int32(index)
        count += 1
    }

    /// Takes `first`, if there is one.
    mutating func removeFirst() {
        if isEmpty { return }
        head = head + 1 < storage.count ? head + 1 : 0
        count -= 1
    }
}
