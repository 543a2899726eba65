// The open batch: plain sums first, one group a request behind them, and a size that is never less than what is
// written.

import Testing

@testable import TallyCore

@Suite struct AggregatorTests {
    typealias Fixture = CoreFixture

    private func add(_ text: String, _ delta: Int64, toGroup: Bool = false, of aggregator: inout Aggregator) {
        Array(text.utf8).withUnsafeBytes { key in
            if toGroup {
                aggregator.addToGroup(key, hash: XXH64.hash(key), delta: delta)
            } else {
                aggregator.add(key, hash: XXH64.hash(key), delta: delta)
            }
        }
    }

    private func written(_ aggregator: inout Aggregator) throws -> [Fixture.Entry] {
        var writer = BatchWriter(
            stream: Fixture.stream(), nextSequence: 1, cumulative: .zero, chain: 0, frozenAt: 0, origin: nil,
            limitBytes: .max, sizeHint: 0)
        aggregator.write(to: &writer)
        return try writer.finish().flatMap { try Fixture.entries(of: $0.bytes) }
    }

    @Test func plainSumsThenGroups() throws {
        var aggregator = Aggregator()
        #expect(aggregator.isEmpty && aggregator.encodedBytes == 0 && aggregator.entryCount == 0)
        add("a", 1, of: &aggregator)
        aggregator.beginGroup(Array("r1".utf8))
        add("a", 10, toGroup: true, of: &aggregator)
        add("b", 11, toGroup: true, of: &aggregator)
        add("a", 2, of: &aggregator)
        aggregator.beginGroup(Array("r2".utf8))
        add("a", 20, toGroup: true, of: &aggregator)
        add("a", 21, toGroup: true, of: &aggregator)
        #expect(aggregator.entryCount == 4)
        #expect(aggregator.encodedBytes == 4 * (1 + 22) + 2 * 133)
        #expect(
            try written(&aggregator) == [
                Fixture.entry("a", 3, 2), Fixture.entry("a", 10, group: "r1"), Fixture.entry("b", 11, group: "r1"),
                Fixture.entry("a", 41, 2, group: "r2"),
            ])
        #expect(aggregator.isEmpty && aggregator.encodedBytes == 0 && aggregator.entryCount == 0)
        #expect(try written(&aggregator).isEmpty)
    }

    /// Two requests may carry the same idempotency key: the shard decides, so both are delivered.
    @Test func groupsOfOneKeyStayApart() throws {
        var aggregator = Aggregator()
        for delta in [1, 2] as [Int64] {
            aggregator.beginGroup(Array("same".utf8))
            add("a", delta, toGroup: true, of: &aggregator)
        }
        #expect(
            try written(&aggregator) == [Fixture.entry("a", 1, group: "same"), Fixture.entry("a", 2, group: "same")])
    }

    @Test func isAnUpperBoundOfWhatIsWritten() {
        var aggregator = Aggregator()
        for index in 0..<100 {
            add(String(repeating: "k", count: 400) + "\(index)", index.isMultiple(of: 2) ? .min : .max, of: &aggregator)
        }
        let bound = aggregator.encodedBytes
        var writer = BatchWriter(
            stream: Fixture.stream(), nextSequence: 1, cumulative: .zero, chain: 0, frozenAt: 0, origin: nil,
            limitBytes: .max, sizeHint: 0)
        aggregator.write(to: &writer)
        #expect(writer.finish().reduce(0) { $0 + $1.bytes.count } <= bound + BatchFormat.emptyBatchBytes)
    }
}
