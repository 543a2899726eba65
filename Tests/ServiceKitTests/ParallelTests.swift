import ServiceKit
import Synchronization
import Testing

@Suite struct ParallelTests {
    @Test func eachElementOnce() throws {
        let seen = Mutex<[Int]>([])
        let counts = Mutex<[Int]>([])
        try Parallel.forEach(
            Array(0..<100), threads: 3, finished: { count in counts.withLock { $0.append(count) } }
        ) { element throws(Failure) in
            seen.withLock { $0.append(element) }
        }
        #expect(seen.withLock { $0.sorted() } == Array(0..<100))
        #expect(counts.withLock { $0.sorted() } == Array(1...100))
    }

    @Test func nothingToDo() throws {
        try Parallel.forEach([Int](), threads: 2) { _ throws(Failure) in throw Failure(.failure, "called") }
    }

    /// The first failure is the one to report, and nothing begins after it.
    @Test func aFailureEndsIt() throws {
        let seen = Mutex(0)
        let failure = #expect(throws: Failure.self) {
            try Parallel.forEach(Array(0..<1_000), threads: 1) { element throws(Failure) in
                seen.withLock { $0 += 1 }
                if element == 3 { throw Failure(.corrupt, "element \(element)") }
            }
        }
        #expect(failure?.code == .corrupt && failure?.what == "element 3")
        #expect(seen.withLock { $0 } == 4)
    }
}
