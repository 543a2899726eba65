/// A first-in, first-out queue over an array: elements leave at the front in amortised constant time and stay
/// indexable in between, which is what an outbox needs and an array's `removeFirst` does not give.
struct Fifo<Element> {
    private var storage: [Element] = []
    private var head = 0

    var count: Int { storage.count - head }
    var isEmpty: Bool { head == storage.count }
    var first: Element? { isEmpty ? nil : storage[head] }

    /// Elements in order; index 0 is the oldest.
    subscript(index: Int) -> Element {
        get { storage[head + index] }
        _modify { yield &storage[head + index] }
    }

    mutating func append(_ element: Element) {
        storage.append(element)
    }

    @discardableResult
    mutating func removeFirst() -> Element {
        let element = storage[head]
        head += 1
        // Elements may hold large buffers: let go of them soon, at a cost of two moves an element.
        if head > 16, head * 2 > storage.count {
            storage.removeFirst(head)
            head = 0
        } else if head == storage.count {
            // A queue that was long once should not hold its storage for ever.
            storage.removeAll(keepingCapacity: storage.capacity <= Self.keptCapacityMax)
            head = 0
        }
        return element
    }

    private static var keptCapacityMax: Int { 1_024 }

    /// Puts other elements in place of all, or none, in the same order.
    mutating func replaceAll(_ transform: (Element) -> Element?) {
        storage = storage[head...].compactMap(transform)
        head = 0
    }
}
