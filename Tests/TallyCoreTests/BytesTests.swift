// The building blocks of the formats: one value has one encoding, nothing reads past the end, and comparison is that
// of bytes, whatever word size it runs on.

import Testing

@testable import TallyCore

@Suite struct BytesTests {
    private func varint(_ bytes: [UInt8]) -> UInt64? {
        bytes.withUnsafeBytes { buffer in
            var reader = ByteReader(buffer)
            let value = reader.varint()
            return reader.isAtEnd ? value : nil
        }
    }

    @Test(
        arguments: [
            (0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (300, "ac02"), (16_383, "ff7f"), (16_384, "808001"),
            (1 << 63, "80808080808080808001"), (.max, "ffffffffffffffffff01"),
        ] as [(UInt64, String)])
    func varintForms(value: UInt64, hex: String) throws {
        var bytes: [UInt8] = []
        bytes.append(varint: value)
        #expect(Hex.text(bytes) == hex)
        #expect(varint(bytes) == value)
        for length in 0..<bytes.count { #expect(varint(Array(bytes.prefix(length))) == nil, "cut short") }
    }

    @Test(arguments: [
        "8000", "ff00", "808000",  // longer than needed
        "ffffffffffffffffff02", "ffffffffffffffffff7f",  // wider than 64 bits
        "8080808080808080808001", "ffffffffffffffffffff01", "80808080808080808080",  // longer than ten bytes
        "", "80", "ffff",
    ])
    func otherVarintFormsAreRefused(hex: String) throws {
        #expect(varint(try #require(Hex.bytes(hex))) == nil)
    }

    @Test(
        arguments: [
            (0, "00"), (-1, "01"), (1, "02"), (-2, "03"), (63, "7e"), (-64, "7f"), (64, "8001"),
            (.max, "feffffffffffffffff01"), (.min, "ffffffffffffffffff01"),
        ] as [(Int64, String)])
    func zigzagForms(value: Int64, hex: String) {
        var bytes: [UInt8] = []
        bytes.append(zigzag: value)
        #expect(Hex.text(bytes) == hex)
        bytes.withUnsafeBytes { buffer in
            var reader = ByteReader(buffer)
            #expect(reader.zigzag() == value && reader.isAtEnd)
        }
    }

    @Test func randomVarintsSurvive() {
        let seed: UInt64 = 7
        var generator = SplitMix64(seed: seed)
        for _ in 0..<10_000 {
            let value = generator.next() >> UInt64.random(in: 0..<64, using: &generator)
            var bytes: [UInt8] = []
            bytes.append(varint: value)
            #expect(varint(bytes) == value, "seed \(seed)")
            bytes.removeAll()
            bytes.append(zigzag: Int64(bitPattern: value))
            bytes.withUnsafeBytes { buffer in
                var reader = ByteReader(buffer)
                #expect(reader.zigzag() == Int64(bitPattern: value), "seed \(seed)")
            }
        }
    }

    @Test func integersAreLittleEndianAndStayInside() {
        var bytes: [UInt8] = []
        bytes.append(littleEndian: UInt32(0x0102_0304))
        bytes.append(littleEndian: Int128(-2))
        #expect(Hex.text(bytes) == "04030201fe" + String(repeating: "ff", count: 15))
        bytes.store(littleEndian: UInt16(0xABCD), at: 1)
        #expect(Hex.text(bytes.prefix(4)) == "04cdab01")
        bytes.withUnsafeBytes { buffer in
            var reader = ByteReader(buffer)
            #expect(reader.integer(UInt32.self) == 0x01AB_CD04)
            #expect(reader.slice(-1) == nil && reader.slice(17) == nil && reader.slice(.max) == nil)
            #expect(reader.integer(Int128.self) == -2)
            #expect(reader.isAtEnd && reader.integer(UInt8.self) == nil && reader.slice(0)?.count == 0)
        }
    }

    private func compare(_ left: [UInt8], _ right: [UInt8]) -> Int {
        left.withUnsafeBytes { left in right.withUnsafeBytes { Bytes.compare(left, $0) } }.signum()
    }

    @Test func comparisonIsLexicographic() {
        #expect(compare([], []) == 0)
        #expect(compare([], [0]) == -1)
        #expect(compare([0xFF], [0x00, 0x01]) == 1)
        let seed: UInt64 = 11
        var generator = SplitMix64(seed: seed)
        for _ in 0..<20_000 {
            // Long shared prefixes of every length, so that words and tails both decide.
            let shared = (0..<Int.random(in: 0..<20, using: &generator)).map { _ in
                UInt8.random(in: 0...255, using: &generator)
            }
            let edges: [UInt8] = [0, 1, 0x7F, 0x80, 0xFF]
            let tails: [[UInt8]] = (0..<2).map { _ in
                (0..<Int.random(in: 0..<3, using: &generator)).map { _ in edges.randomElement(using: &generator) ?? 0 }
            }
            let left = shared + tails[0]
            let right = shared + tails[1]
            let expected = left == right ? 0 : left.lexicographicallyPrecedes(right) ? -1 : 1
            #expect(compare(left, right) == expected, "seed \(seed): \(left) \(right)")
        }
    }
}
