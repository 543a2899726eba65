// How a claim of a client lies in the file, and how many bytes it takes.

import TallyCore
import Testing

@testable import ShardStore

@Suite struct ClaimTableTests {
    let folder = Folder()
    let shard: ShardFile

    init() throws {
        shard = try ShardFile.sample(in: folder)
        shard.advanceClaimClock(to: 1_000_000, elapsed: 0)
    }

    private func claim(_ groups: [(id: String, keys: [String])], _ one: inout BatchMaker) throws -> Applied {
        one.frozenAt = 1_000_000
        let batch = one.make([], groups: groups.map { ($0.id, $0.keys.map { TestEntry($0, 1) }) })
        return try #require(try shard.apply([batch], timeMilliseconds: 1).applied)
    }

    /// What another program makes of it: the length of the idempotency key, it, and the key.
    @Test func theDigestIsPinned() throws {
        var one = BatchMaker(1)
        _ = try claim([("order-4711", ["page:/home"])], &one)
        let print = #"printf '\012order-4711page:/home' | /usr/bin/sha256sum | /usr/bin/head -c 32; echo"#
        let digest = Child.run("/bin/sh", ["-c", print]).output
        #expect(shell(folder.shard, "SELECT lower(hex(digest)) FROM claim") == digest)
        #expect(
            shell(folder.shard, "SELECT key_hash FROM claim")
                == "\(Int64(bitPattern: XXH64.hash(Array("page:/home".utf8))))")
        #expect(shell(folder.shard, "SELECT count(*) FROM idempotency") == "0")
    }

    /// Where one ends and the other begins counts.
    @Test func pairsOfTheSameBytesAreDifferent() throws {
        var one = BatchMaker(1)
        let groups = [("ab", ["c"]), ("a", ["bc", "b"]), ("abc", ["abc"]), ("a", ["c"])]
        #expect(try claim(groups, &one).applied.increments == 5)
        #expect(try claim(groups, &one).repeated.increments == 5)
        let reader = try ShardReader(at: folder.shard)
        #expect(try reader.hasClaim(Array("a".utf8), key: Array("bc".utf8)))
        #expect(try !reader.hasClaim(Array("ab".utf8), key: Array("bc".utf8)))
    }

    /// A claim of any length takes at most 100 bytes of the file, where its two texts, twice each, took 690.
    @Test func aClaimTakesFewBytes() throws {
        var one = BatchMaker(1)
        let padding = String(repeating: "x", count: 100)
        let rows = 40_000
        try shard.checkpoint()
        let before = size(folder.shard)
        for start in stride(from: 0, to: rows, by: 4_000) {
            let groups = (start..<start + 4_000).map { ("\(padding)\($0)", ["\(padding)\(padding)"]) }
            #expect(try claim(groups, &one).applied.increments == 4_000)
        }
        try shard.checkpoint()
        let bytes = (size(folder.shard) - before) / rows
        #expect(bytes <= 100, "\(bytes) bytes a claim")
        #expect(try shard.statistics().claims == rows && shard.claimsMade == rows)
    }

    /// The figure follows what is claimed, repeated, rolled back, and forgotten.
    @Test func theNumberOfClaimsIsKept() throws {
        var one = BatchMaker(1)
        _ = try claim([("a", ["x", "y"]), ("b", ["x"])], &one)
        _ = try claim([("a", ["x", "z"])], &one)
        #expect(try shard.statistics().claims == 4 && shard.claimsMade == 4)
        try shard.retire()
        #expect(try ShardReader(at: folder.shard).statistics().claims == 4)
    }
}
