// The bytes of a batch are a contract between releases: two of them are pinned as they were made by another
// implementation from the layout alone, and no damaged, cut or invented bytes are ever taken for a batch.

import Testing

@testable import TallyCore

@Suite struct BatchFormatTests {
    typealias Fixture = CoreFixture

    static let plainHex =
        "544d4201000102030405060708090a0b0c0d0e0f010000000000000003000000050000008a0000000068e5cf8b010000"
        + "0300000000000000d5feffffffffffffffffffffffffffff020000000000000000000000000000000000000000000000"
        + "0000000000000000000000000000000012a25fa41e8e32fa0161010202c3a902d704d0e9d2ff28a65d45"
    static let routedHex =
        "544d4201f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff050403020100000007000000ff030000b70000007b68e5cf8b010000"
        + "1805000000000000feffffffffffffffbfffffffffffffff0100000002000000000102030405060708090a0b0c0d0e0f"
        + "2a00000000000000060000000900000084843f266dd517bc05706c61696eac0200057265712d3102000000016b01feff"
        + "ffffffffffffff01017a02ffffffffffffffffff01017201000000016b0101988047e438078c8f"

    static func id(_ first: UInt8, _ sequence: UInt64, _ epoch: UInt32, _ number: UInt32) -> BatchID {
        guard let bytes = Bytes16((0..<16).map { first + $0 }) else { preconditionFailure("sixteen bytes") }
        return BatchID(
            stream: StreamID(
                partition: PartitionID(epoch: epoch, number: number), producer: ProducerID(bytes)),
            sequence: sequence)
    }

    static let plainEntries = [Fixture.entry("a", 1), Fixture.entry("é", -300, 2)]
    static let plain = Fixture.batches(plainEntries, id: id(0, 1, 3, 5), frozenAt: 1_700_000_000_000)[0]
    static let routedEntries = [
        Fixture.entry("plain", 0, 300), Fixture.entry("k", .max, group: "req-1"),
        Fixture.entry("z", .min, 2, group: "req-1"), Fixture.entry("k", -1, group: "r"),
    ]
    static let routed = Fixture.batches(
        routedEntries, id: id(0xF0, 0x01_0203_0405, 7, 1023), after: Amount(increments: 1_000, sum: -(1 << 70)),
        origin: id(0, 42, 6, 9), frozenAt: 1_700_000_000_123)[0]

    @Test func goldenBytes() {
        #expect(Hex.text(Self.plain.bytes) == Self.plainHex)
        #expect(Hex.text(Self.routed.bytes) == Self.routedHex)
    }

    @Test func goldenBytesAreRead() throws {
        let plain = try #require(Hex.bytes(Self.plainHex))
        #expect(try Fixture.entries(of: plain) == Self.plainEntries)
        #expect(
            try Fixture.header(of: plain)
                == BatchHeader(
                    id: Self.id(0, 1, 3, 5), frozenAt: 1_700_000_000_000,
                    cumulative: Amount(increments: 3, sum: -299), entries: 2, groups: 0, origin: nil))
        let routed = try #require(Hex.bytes(Self.routedHex))
        #expect(try Fixture.entries(of: routed) == Self.routedEntries)
        #expect(
            try Fixture.header(of: routed)
                == BatchHeader(
                    id: Self.id(0xF0, 0x01_0203_0405, 7, 1023), frozenAt: 1_700_000_000_123,
                    cumulative: Amount(increments: 1_304, sum: -(1 << 70) - 2), entries: 1, groups: 2,
                    origin: Self.id(0, 42, 6, 9)))
        #expect(Array(routed[BatchFormat.identityRange]) == Self.routed.id.identityBytes)
        routed.withUnsafeBytes { bytes in
            #expect((try? BatchReader(bytes))?.amount == Amount(increments: 304, sum: -2), "nil fails as well")
        }
    }

    @Test func everyTruncationIsRefused() throws {
        for batch in [Self.plain, Self.routed] {
            let header = try Fixture.header(of: batch.bytes)
            for length in 0..<batch.bytes.count {
                let error = Fixture.error(of: Array(batch.bytes.prefix(length)))
                if length < 128 {
                    let what = length == 1 ? "1 byte is" : "\(length) bytes are"
                    #expect(error == .unreadable("\(what) too few for a batch"))
                } else {
                    #expect(error == .damaged(header, "its length is wrong"))
                }
            }
            #expect(Fixture.error(of: batch.bytes + [0]) == .damaged(header, "its length is wrong"))
            #expect(Fixture.error(of: batch.bytes) == nil)
        }
    }

    @Test func everyFlippedBitIsRefused() throws {
        for batch in [Self.plain, Self.routed] {
            let header = try Fixture.header(of: batch.bytes)
            for bit in 0..<batch.bytes.count * 8 {
                var bytes = batch.bytes
                bytes[bit / 8] ^= 1 << UInt8(bit % 8)
                let expected: BatchError =
                    switch bit / 8 {
                    case 0..<3: .unreadable("it does not begin with TMB")
                    case 3 where bytes[3] > 1: .newerVersion(bytes[3])
                    case 3..<120: .unreadable("the checksum of its header is wrong")
                    default: .damaged(header, "its checksum is wrong")
                    }
                #expect(Fixture.error(of: bytes) == expected, "bit \(bit)")
            }
        }
    }

    /// Recomputes both checksums and the length, as a broken writer would.
    static func seal(_ bytes: [UInt8]) -> [UInt8] {
        var bytes = Array(bytes.dropLast(8))
        bytes.store(littleEndian: UInt32(bytes.count + 8), at: 36)
        bytes.store(littleEndian: XXH64.hash(Array(bytes.prefix(112))), at: 112)
        bytes.append(littleEndian: XXH64.hash(bytes))
        return bytes
    }

    @Test func hostileCountsAreRefusedWithoutAllocating() throws {
        for count in [0, 1, 3, 1_000_000, UInt32.max] {
            var bytes = Self.plain.bytes
            bytes.store(littleEndian: count, at: 72)
            let sealed = Self.seal(bytes)
            #expect(Fixture.error(of: sealed) == .damaged(try Fixture.header(of: sealed), "its entries do not decode"))
            bytes = Self.plain.bytes
            bytes.store(littleEndian: max(count, 1), at: 76)
            let grouped = Self.seal(bytes)
            #expect(
                Fixture.error(of: grouped) == .damaged(try Fixture.header(of: grouped), "its entries do not decode"))
        }
    }

    @Test(arguments: [
        "00" + "01" + "02",  // an empty key
        "01" + "07" + "01" + "02",  // a control byte
        "01" + "ff" + "01" + "02",  // not UTF-8
        "01" + "61" + "00" + "02",  // no increments
        "8100" + "61" + "01" + "02",  // a length longer than needed
        "ffffffffffffffffff01" + "61",  // a length of 2^64 - 1
        "ffffffffffffffff7f" + "61",  // a length of 2^63 - 1
        "8104" + String(repeating: "61", count: 513) + "01" + "02",  // 513 bytes
        "01" + "61" + "01" + "8000",  // a sum longer than needed
        "01" + "61" + "01",  // no sum
        "01" + "61" + "01" + "02" + "00",  // a byte behind the last entry
        "",
    ])
    func hostileEntriesAreRefused(hex: String) throws {
        let body = try #require(Hex.bytes(hex))
        var bytes = Array(Self.plain.bytes.prefix(120)) + body + Array(repeating: 0, count: 8)
        bytes.store(littleEndian: UInt32(1), at: 72)
        let sealed = Self.seal(bytes)
        #expect(Fixture.error(of: sealed) == .damaged(try Fixture.header(of: sealed), "its entries do not decode"))
    }

    @Test(arguments: [
        "00" + "00000000", "81" + String(repeating: "61", count: 129) + "00000000", "ff" + "00000000",
        "01" + "61" + "ffffffff", "01" + "61" + "0000", "01" + "61", "",
    ])
    func hostileGroupsAreRefused(hex: String) throws {
        let body = try #require(Hex.bytes(hex))
        var bytes = Array(Self.plain.bytes.prefix(120)) + body + Array(repeating: 0, count: 8)
        bytes.store(littleEndian: UInt32(0), at: 72)
        bytes.store(littleEndian: UInt32(1), at: 76)
        let sealed = Self.seal(bytes)
        #expect(Fixture.error(of: sealed) == .damaged(try Fixture.header(of: sealed), "its entries do not decode"))
    }

    @Test func headerBounds() {
        func error(_ value: UInt64, at offset: Int) -> BatchError? {
            var bytes = Self.routed.bytes
            bytes.store(littleEndian: value, at: offset)
            return Fixture.error(of: Self.seal(bytes))
        }
        let outOfRange = BatchError.unreadable("its header is out of range")
        for offset in [20, 96] {
            #expect(error(Limits.sequenceMax, at: offset) == nil)
            #expect(error(Limits.sequenceMax + 1, at: offset) == outOfRange)
            #expect(error(.max, at: offset) == outOfRange)
        }
        #expect(error(0, at: 20) == outOfRange)
        #expect(error(0, at: 96) == nil, "no origin")
    }

    /// Any bytes at all behind valid checksums: refused or read, never a trap.
    @Test func randomBytesNeverTrap() {
        let seed: UInt64 = 5
        var generator = SplitMix64(seed: seed)
        for _ in 0..<20_000 {
            var bytes = Self.routed.bytes
            for _ in 0..<Int.random(in: 1...6, using: &generator) {
                let range = Bool.random(using: &generator) ? 72..<80 : 120..<bytes.count - 8
                bytes[Int.random(in: range, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
            }
            bytes = Array(bytes.prefix(Int.random(in: 128...bytes.count, using: &generator)))
            let sealed = Self.seal(bytes)
            sealed.withUnsafeBytes { buffer in
                guard let reader = try? BatchReader(buffer) else { return }  // refusal is the common case
                var amount = Amount.zero
                reader.forEach { amount += Amount(increments: $0.increments, sum: Int128($0.sum)) }
                #expect(amount == reader.amount, "seed \(seed)")
            }
        }
    }

    @Test func randomBatchesSurvive() throws {
        let seed: UInt64 = 9
        var generator = SplitMix64(seed: seed)
        for round in 0..<300 {
            var entries: [Fixture.Entry] = []
            for group in [nil, "g1", "g2", String(repeating: "i", count: 128)] {
                for _ in 0..<Int.random(in: 0..<20, using: &generator) {
                    let length = [1, 2, 127, 128, 512].randomElement(using: &generator) ?? 1
                    let key =
                        String(repeating: "x", count: length - 1) + String(Int.random(in: 0...9, using: &generator))
                    let shift = Int64.random(in: 0..<64, using: &generator)
                    entries.append(
                        Fixture.entry(
                            key, Int64(bitPattern: generator.next()) >> shift,
                            max(1, generator.next() >> UInt64(shift)),
                            group: group))
                }
            }
            let id = Fixture.batchID(1 + generator.next() % Limits.sequenceMax)
            let batches = Fixture.batches(entries, id: id)
            #expect(batches.count == (entries.isEmpty ? 0 : 1))
            guard let batch = batches.first else { continue }
            #expect(try Fixture.entries(of: batch.bytes) == entries, "seed \(seed) round \(round)")
            #expect(try Fixture.header(of: batch.bytes).id == id)
        }
    }
}
