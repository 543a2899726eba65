// The map from keys to partitions is part of every format, so its values are pinned. The vectors were made by another
// implementation (Python, the xxhash package and jump hash written from the paper), and any other language can check
// itself against them. The properties are the paper's: balance, and growth that moves only what it must.

import TallyCore
import Testing

@Suite struct PartitionerTests {
    static let partitionCounts = [1, 2, 3, 4, 7, 16, 64, 1000, 1024]

    @Test(
        arguments: [
            ("a", 0xD24E_C4F1_A98C_6E5B, [0, 1, 1, 1, 6, 8, 17, 894, 894]),
            ("tallymill", 0xB4BE_4772_71DE_A4B8, [0, 1, 1, 1, 6, 10, 21, 983, 983]),
            ("caf\u{E9}", 0x9A40_A9B9_74D8_5A6A, [0, 0, 2, 2, 2, 7, 60, 877, 877]),
            ("cafe\u{301}", 0xA00E_2652_45DC_A00C, [0, 1, 2, 2, 2, 2, 33, 843, 843]),
            (String(repeating: "k", count: 512), 0xDE8B_CBA7_C0C2_BC86, [0, 1, 1, 1, 6, 15, 34, 743, 743]),
            ("\u{1F980} crabs", 0xE853_A8CB_61B1_9813, [0, 0, 0, 0, 0, 13, 60, 205, 205]),
            ("page:/index.html", 0xA158_34D3_693D_20D9, [0, 0, 2, 3, 3, 8, 37, 125, 125]),
            ("0", 0x6334_5708_1244_AFEC, [0, 0, 0, 3, 4, 4, 18, 718, 718]),
        ] as [(String, UInt64, [Int])])
    func goldenVectors(text: String, hash: UInt64, expected: [Int]) throws {
        let key = try Key(text)
        #expect(key.hash64 == hash)
        #expect(Self.partitionCounts.map { Partitioner(partitions: $0).partition(of: key) } == expected)
        #expect(Self.partitionCounts.map { Partitioner(partitions: $0).partition(ofHash: hash) } == expected)
    }

    @Test func extremeHashesStayInRange() {
        for hash in [0, 1, .max, .max - 1, 1 << 63] as [UInt64] {
            for partitions in Self.partitionCounts {
                #expect((0..<partitions).contains(Partitioner(partitions: partitions).partition(ofHash: hash)))
            }
        }
    }

    static let hashes: [UInt64] = (0..<1_000_000).map { XXH64.hash(Array("user:\($0)".utf8)) }

    /// A million keys: the chi-square statistic of K cells stays within six standard deviations of K - 1.
    @Test(arguments: [2, 3, 4, 16, 100, 1024])
    func balance(partitions: Int) {
        let partitioner = Partitioner(partitions: partitions)
        var counts = Array(repeating: 0, count: partitions)
        for hash in Self.hashes { counts[partitioner.partition(ofHash: hash)] += 1 }
        let expected = Double(Self.hashes.count) / Double(partitions)
        let statistic = counts.reduce(0.0) { $0 + (Double($1) - expected) * (Double($1) - expected) / expected }
        let freedom = Double(partitions - 1)
        #expect(statistic < freedom + 6 * (2 * freedom).squareRoot(), "chi-square \(statistic)")
    }

    @Test(arguments: [(1, 2), (2, 3), (4, 5), (4, 8), (16, 20), (1000, 1024), (1, 1024)])
    func growthMovesOnlyWhatItMust(old: Int, new: Int) {
        let before = Partitioner(partitions: old)
        let after = Partitioner(partitions: new)
        var moved = 0
        var strays = 0
        for hash in Self.hashes {
            let target = after.partition(ofHash: hash)
            if target == before.partition(ofHash: hash) { continue }
            moved += 1
            if target < old { strays += 1 }
        }
        #expect(strays == 0, "a key moved between partitions that both existed before")
        let share = Double(moved) / Double(Self.hashes.count)
        #expect(abs(share - (1 - Double(old) / Double(new))) < 0.01)
    }
}
