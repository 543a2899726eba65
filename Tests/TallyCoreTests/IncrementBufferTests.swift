// The staging list of one request: keeps repeats and order, refuses a bad key without a trace, and gives back the
// memory of one huge request.

import TallyCore
import Testing

@Suite struct IncrementBufferTests {
    private func append(_ key: [UInt8], _ delta: Int64, to buffer: inout IncrementBuffer) -> KeyError? {
        key.withUnsafeBytes { buffer.append(key: $0, delta: delta) }
    }

    @Test func agreesWithAList() {
        let seed: UInt64 = 13
        var generator = SplitMix64(seed: seed)
        var buffer = IncrementBuffer()
        for _ in 0..<3 {
            var model: [([UInt8], Int64)] = []
            for _ in 0..<2_000 {
                let key = Array("k\(Int.random(in: 0..<100, using: &generator))".utf8)
                let delta = Int64(bitPattern: generator.next())
                #expect(append(key, delta, to: &buffer) == nil)
                model.append((key, delta))
            }
            #expect(buffer.count == model.count)
            #expect(buffer.keyBytes == model.reduce(0) { $0 + $1.0.count })
            for (item, expected) in zip(buffer.items, model) {
                #expect(buffer.key(of: item) == expected.0 && item.delta == expected.1, "seed \(seed)")
                #expect(item.hash == XXH64.hash(expected.0))
            }
            buffer.removeAll()
            #expect(buffer.isEmpty && buffer.keyBytes == 0)
        }
    }

    @Test func aBadKeyChangesNothing() {
        var buffer = IncrementBuffer()
        #expect(append([0x61], 1, to: &buffer) == nil)
        #expect(append([], 2, to: &buffer) == .empty)
        #expect(append([0x00], 2, to: &buffer) == .controlByte(0, at: 0))
        #expect(append(Array(repeating: 0x61, count: 513), 2, to: &buffer) == .tooLong(bytes: 513))
        #expect(append([0xFF], 2, to: &buffer) == .notUTF8)
        #expect(buffer.count == 1 && buffer.keyBytes == 1)
    }
}
