// The fold against a dictionary and a plain sort: every sum, every order that the bytes of keys can have, and both ends
// of Int64.

import Testing

@testable import TallyCore

@Suite struct FoldTests {
    private func add(_ text: String, _ delta: Int64, to fold: inout Fold) {
        Array(text.utf8).withUnsafeBytes { fold.add($0, delta: delta) }
    }

    /// Keys and sums in the order in which they are handed out.
    private func drained(_ fold: inout Fold) -> [CoreFixture.Entry] {
        var rows: [CoreFixture.Entry] = []
        fold.drainInKeyOrder { key, sum in
            if let sum { rows.append(CoreFixture.entry(String(decoding: key, as: UTF8.self), sum)) }
        }
        return rows
    }

    private func sorted(_ keys: some Sequence<String>) -> [String] {
        keys.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func agreesWithADictionary(seed: UInt64) {
        var generator = SplitMix64(seed: seed)
        var fold = Fold()
        var model: [String: Int64] = [:]
        for _ in 0..<60_000 {
            let key = "counter/\(Int.random(in: 0..<20_000, using: &generator))"
            let delta = Int64.random(in: -1_000...1_000, using: &generator)
            add(key, delta, to: &fold)
            model[key, default: 0] += delta
        }
        #expect(fold.count == model.count)
        let expected = sorted(model.keys).map { CoreFixture.entry($0, model[$0] ?? 0) }
        #expect(drained(&fold) == expected, "seed \(seed)")
    }

    /// Keys that differ early, late, only in length, and in bytes above 0x7F; the words of the sort end everywhere.
    @Test(arguments: [1, 2, 3] as [UInt64])
    func keysComeInByteOrder(seed: UInt64) {
        var generator = SplitMix64(seed: seed)
        let letters = ["a", "b", " ", "~", "é", "日", "🧮"]
        var keys: Set<String> = []
        for stem in ["", "a", "aaaaaaaa", "aaaaaaaaaaaaaaaa", String(repeating: "x", count: 500)] {
            for length in 0..<12 {
                for _ in 0..<20 {
                    let tail = (0..<length).map { _ in letters[Int.random(in: 0..<letters.count, using: &generator)] }
                    let key = stem + tail.joined()
                    if (1...Limits.keyBytesMax).contains(key.utf8.count) { keys.insert(key) }
                }
            }
        }
        var fold = Fold()
        for key in keys { add(key, 1, to: &fold) }
        #expect(drained(&fold).map(\.key) == sorted(keys), "seed \(seed)")
        fold = Fold()
        for key in keys.filter({ $0.utf8.count > 500 }) { add(key, 1, to: &fold) }
        let long = sorted(keys.filter { $0.utf8.count > 500 })
        #expect(long.count > 100)
        #expect(drained(&fold).map(\.key) == long, "seed \(seed): what all have in common is passed over")
    }

    @Test func noKeyAndOneKey() {
        var fold = Fold()
        #expect(fold.count == 0 && drained(&fold).isEmpty)
        fold = Fold()
        add("only", -7, to: &fold)
        #expect(drained(&fold) == [CoreFixture.entry("only", -7)])
    }

    /// A key whose sum leaves Int64 on the way has none, wherever it ends; the others have theirs.
    @Test func theEndsOfInt64AreHeldAndBeyondIsNoticed() {
        for (end, step) in [(Int64.max, Int64(1)), (.min, -1)] {
            for steps in 1...3 {
                var fold = Fold()
                add("k", end - step, to: &fold)
                add("other", step, to: &fold)
                for _ in 0..<steps { add("k", step, to: &fold) }
                if steps == 3 { add("k", -step, to: &fold) }
                var sums: [Int64?] = []
                fold.drainInKeyOrder { _, sum in sums.append(sum) }
                #expect(sums == [steps == 1 ? end : nil, step])
            }
        }
    }

    @Test func whatTheWalkThrowsIsThrown() {
        struct Broken: Error, Equatable {}
        var fold = Fold()
        add("a", 1, to: &fold)
        #expect(throws: Broken()) {
            try fold.drainInKeyOrder { _, _ throws(Broken) in throw Broken() }
        }
    }

    @Test func aBatchIsAddedWhole() throws {
        let entries = [CoreFixture.entry("x", 5), CoreFixture.entry("a", -2, 9), CoreFixture.entry("x", 1)]
        let batch = CoreFixture.batches(entries)[0]
        var fold = Fold()
        fold.reserve(payloadBytes: batch.bytes.count)
        try batch.bytes.withUnsafeBytes { fold.add(try BatchReader($0)) }
        #expect(drained(&fold) == [CoreFixture.entry("a", -2), CoreFixture.entry("x", 6)])
    }
}
