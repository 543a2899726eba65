// What is planted in a sound cluster is named, in these words; and a sound cluster has no findings, whatever it has
// been through.

import ClusterSupport
import Glibc
import RedisQueue
import ServiceKit
import ShardConsumer
import ShardStore
import TallyCore
import TestSupport
import Testing

@testable import Operations
@testable import TallyCore

@Suite struct VerificationTests {
    let cluster: CountingCluster
    let node: CountingNode

    /// 40 keys counted, 4 more batches in the lists.
    init() throws {
        cluster = try CountingCluster()
        node = try CountingNode(cluster, id: 1)
        for number in 0..<40 { try node.post(["k\(number)": Int64(number)]) }
        try cluster.consume()
        for partition in 0..<UInt32(4) { try node.post(["\(cluster.keys(in: partition)[0])": 1000]) }
    }

    private func found(_ location: SourceLocation = #_sourceLocation) throws -> [String] {
        let verification = try cluster.verify()
        #expect(verification.exitCode == .partial, sourceLocation: location)
        return cluster.sentences(verification.findings)
    }

    private func shard(_ partition: UInt32) -> String { "epoch-0001/shard-000\(partition)-of-0004.sqlite" }

    @Test func aSoundClusterHasNoFindings() throws {
        let verification = try cluster.verify()
        #expect(cluster.sentences(verification.findings) == [])
        #expect(verification.exitCode == .ok)
        #expect(verification.text == "4 shards, 40 keys, total 780: no findings\n")
        let offline = try cluster.verify(offline: true)
        #expect(
            offline.text == """
                note: Redis was not looked at (--offline): the shards alone were checked
                4 shards, 40 keys, total 780: no findings

                """)
        #expect(
            verification.json == #"{"cluster":"\#(cluster.topology.cluster)","epoch":1,"partitions":4,"shards":4,"#
                + #""keys":40,"total":780,"redis_skipped":null,"clean":true,"findings":[]}"#)
    }

    // MARK: Shards

    @Test func anAlteredCounter() throws {
        let key = cluster.keys(in: 2)[0]
        let before = try #require(Int(cluster.ask(2, "SELECT sum(value) FROM counters")))
        try cluster.alter(2, "UPDATE counters SET value = value + 5 WHERE key = '\(key)'")
        let keys = try #require(Int(cluster.ask(2, "SELECT count(*) FROM counters")))
        #expect(
            try found() == [
                "\(shard(2)): it holds \(keys) keys that add up to \(before + 5), but says \(keys) and \(before)",
                "\(shard(2)): its counters add up to \(before + 5), its ledger (carried 0, imported 0, "
                    + "applied \(before))"
                    + " to \(before)",
            ])
    }

    @Test func aKeyInTheWrongShard() throws {
        let key = cluster.keys(in: 1)[0]
        let value = try #require(Int(cluster.ask(1, "SELECT value FROM counters WHERE key = '\(key)'")))
        try cluster.alter(1, "DELETE FROM counters WHERE key = '\(key)'")
        try cluster.alter(3, "INSERT INTO counters VALUES('\(key)', \(value), 0)")
        let found = try found()
        #expect(found.contains(#"\#(shard(3)): the key "\#(key)" belongs to partition 1, not to 3"#))
        #expect(found.allSatisfy { !$0.contains(" and shard-") }, "it is in one shard only")
    }

    @Test func aDoubledKey() throws {
        let key = cluster.keys(in: 0)[0]
        try cluster.alter(2, "INSERT INTO counters VALUES('\(key)', 1, 0)")
        let found = try found()
        #expect(found.contains(#"\#(shard(2)): the key "\#(key)" belongs to partition 0, not to 2"#))
        #expect(
            found.contains(
                #"epoch-0001: the key "\#(key)" is in shard-0000-of-0004.sqlite and shard-0002-of-0004.sqlite"#))
    }

    @Test func manyOfAKindAreCounted() throws {
        try cluster.alter(
            0,
            """
            WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999)
            INSERT INTO counters SELECT 'x' || i, 1, 0 FROM n
            """)
        let wrong = (0..<1000).filter { cluster.partition(of: "x\($0)") != 0 }.count
        #expect(try found().contains("\(shard(0)): \(wrong - FindingSeries.toldMax) more of this kind"))
    }

    @Test func keysThatAreNone() throws {
        try cluster.alter(1, #"INSERT INTO counters VALUES('', 1, 0), (char(7) || 'bell', 1, 0)"#)
        let found = try found()
        #expect(found.contains(#"\#(shard(1)): "" is no key: the key is empty"#))
        #expect(
            found.contains(#"\#(shard(1)): "\u0007bell" is no key: the key has the control byte 0x07 at offset 0"#))
    }

    @Test func aLoweredWatermark() throws {
        try cluster.alter(0, "UPDATE applied SET watermark = watermark - 1")
        let missing = try #require(UInt64(cluster.ask(0, "SELECT watermark FROM applied"))) + 1
        #expect(
            try found() == [
                "\(shard(0)): producer \(node.name): batch \(missing) was committed once, and the file does not hold "
                    + "that"
            ])
    }

    @Test func aWatermarkBeyondItsBatches() throws {
        try cluster.alter(0, "UPDATE applied SET watermark = 100")
        let increments = try cluster.ask(0, "SELECT through_increments FROM applied")
        #expect(
            try found().first
                == "\(shard(0)): its table applied has the stream e1.p0 of producer \(node.name): 100 batches "
                + "cannot hold "
                + "\(increments) increments, as each holds one at least")
    }

    /// The batch behind the watermark is in the list, so its header tells.
    @Test func aWatermarkRaisedByOne() throws {
        try cluster.alter(0, "UPDATE applied SET watermark = watermark + 1")
        let through = try cluster.ask(0, "SELECT through_increments, through_sum FROM applied").split(separator: "|")
        let watermark = try cluster.ask(0, "SELECT watermark FROM applied")
        let increments = try #require(Int(through[0]))
        let sum = try #require(Int(through[1]))
        #expect(
            try found().contains(
                "{e1.p0}:queue: producer \(node.name): through batch \(watermark) the shard's ledger says "
                    + "\(increments) "
                    + "increments (sum \(sum)), the batch itself \(increments + 1) increments (sum \(sum + 1000))"))
    }

    @Test func strangeStreams() throws {
        let row = "x'\(String(repeating: "ab", count: 16))', 1, 1, '1', 1, '1', 0, '0', 0, '0'"
        try cluster.alter(1, "INSERT INTO applied VALUES(7, 0, \(row)), (1, 2, \(row)), (1, 9, \(row))")
        try cluster.alter(1, "INSERT INTO applied VALUES(1, 1, x'00', 1, 1, '1', 1, '1', 0, '0', 0, '0')")
        let producer = String(repeating: "ab", count: 16)
        let found = try found()
        let start = "\(shard(1)): its table applied has the stream"
        #expect(found.contains("\(start) e7.p0 of producer \(producer): epoch 7 does not exist, the current one is 1"))
        #expect(found.contains("\(start) e1.p2 of producer \(producer): that is another partition of its own epoch"))
        #expect(found.contains("\(start) e1.p9 of producer \(producer): epoch 1 has 4 partitions"))
        #expect(found.contains("\(start) e1.p1 of producer 00: a producer has 16 bytes"))
    }

    @Test func anUnbalancedStream() throws {
        let row = try cluster.ask(1, "SELECT through_increments, through_sum FROM applied").split(separator: "|")
        let increments = try #require(Int(row[0]))
        try cluster.alter(1, "UPDATE applied SET dead_increments = 3, dead_sum = '-4'")
        let sum = try #require(Int(row[1]))
        #expect(
            try found() == [
                "\(shard(1)): its table applied has the stream e1.p1 of producer \(node.name): through \(increments) "
                    + "increments, sum \(sum), is not applied + repeated + dead, \(increments + 3) "
                    + "increments, sum \(sum - 4)"
            ])
    }

    @Test func strangeRoutedRows() throws {
        let key = cluster.keys(in: 2)[0]
        let producer = String(repeating: "cd", count: 16)
        try cluster.alter(
            2,
            """
            INSERT INTO routed VALUES(2, 0, x'\(producer)', 1, '\(key)'), (1, 1, x'\(producer)', 0, '\(key)'),
                (1, 1, x'\(producer)', 5, '\(cluster.keys(in: 3)[0])')
            """)
        let found = try found()
        let start = "\(shard(2)): its table routed has the origin"
        #expect(found.contains("\(start) e2.p0 \(producer) 1: epoch 2 does not exist, the current one is 1"))
        #expect(found.contains("\(start) e1.p1 \(producer) 0: 0 is no sequence"))
        #expect(
            found.contains(
                #"\#(shard(2)): the key "\#(cluster.keys(in: 3)[0])" in its table routed belongs to partition "#
                    + #"3, not to 2"#
            ))
    }

    @Test func strangeClaims() throws {
        let hash = Int64(bitPattern: XXH64.hash(Array(cluster.keys(in: 3)[0].utf8)))
        let own = Int64(bitPattern: XXH64.hash(Array(cluster.keys(in: 2)[0].utf8)))
        let digest = String(repeating: "0a", count: 16)
        try cluster.alter(
            2, "INSERT INTO claim VALUES(x'\(digest)', \(hash), 5), (x'0b', \(own), 5)")
        let start = "\(shard(2)): the claim"
        #expect(
            try Set(found()) == [
                "\(start) 0b in its table claim is no digest",
                "\(start) \(digest) in its table claim belongs to partition 3, not to 2",
                "\(shard(2)): its table claim has 2 rows, but it says 0",
            ])
    }

    @Test func aRetiredShard() throws {
        try cluster.folder.shard(3, of: cluster.topology).open().retire()
        #expect(
            try found() == [
                "\(shard(3)): it is retired, though its epoch is the current one: no consumer may write it"
            ])
    }

    // MARK: Files

    @Test func aMissingShard() throws {
        unlink(cluster.path(1))
        let verification = try cluster.verify()
        #expect(verification.exitCode == .partial)
        #expect(
            cluster.sentences(verification.findings) == ["\(shard(1)): cannot open it: No such file or directory"])
        #expect(verification.summary.hasPrefix("3 of 4 shards, "))
    }

    @Test func aForeignShard() throws {
        let other = try CountingCluster()
        try cluster.foldLog(0)
        try Files.write(try #require(Files.read(other.path(0))), to: cluster.path(0))
        let found = try found()
        #expect(
            found == [
                "\(shard(0)): its cluster is \(other.topology.cluster), expected \(cluster.topology.cluster)"
            ])
    }

    /// Another partition's file under this one's name.
    @Test func aShardInTheWrongPlace() throws {
        for partition in [0, 1] as [UInt32] { try cluster.foldLog(partition) }
        try Files.write(try #require(Files.read(cluster.path(1))), to: cluster.path(0))
        #expect(try found() == ["\(shard(0)): its partition is 1, expected 0"])
    }

    @Test func anotherCopyOfAShard() throws {
        let uuid = try cluster.ask(0, "SELECT value FROM meta WHERE name = 'uuid'")
        let other = String(repeating: "0", count: 32)
        try cluster.alter(0, "UPDATE meta SET value = '\(other)' WHERE name = 'uuid'")
        #expect(
            try found()
                == ["{e1.p0}:meta: it feeds the shard \(uuid), and \(cluster.path(0)) is \(other)"].map {
                    $0.replacing(cluster.folder.path + "/", with: "")
                })
    }

    @Test func aBrokenShard() throws {
        try cluster.foldLog(2)
        try Files.write(Array(repeating: 0x55, count: 8192), to: cluster.path(2))
        let verification = try cluster.verify()
        #expect(verification.exitCode == .corrupt)
        let sentences = cluster.sentences(verification.findings)
        #expect(sentences.count == 1 && sentences[0].hasPrefix("\(shard(2)): cannot "), "\(sentences)")
        #expect(verification.shards == 3, "the others are read all the same")
    }

    /// One byte of a page: its kind, how many cells it has, a key, a value.
    @Test(arguments: ["kind", "cells", "key", "value"]) func aFlippedByte(_ place: String) throws {
        try cluster.foldLog(1)
        let key = try cluster.ask(1, "SELECT key FROM counters WHERE value >= 20 ORDER BY key LIMIT 1")
        let bytes = try #require(Files.read(cluster.path(1)))
        let found = try #require(
            bytes.indices.last { bytes[$0...].starts(with: Array(key.utf8)) }, "no key \(key) in the file")
        let page = found / 4096 * 4096
        let offset =
            switch place {
            case "kind": page
            case "cells": page + 4
            case "key": found
            default: found + key.utf8.count
            }
        try cluster.flip(1, at: offset)
        let verification = try cluster.verify(offline: true)
        #expect(verification.exitCode == .partial)
        let sentences = cluster.sentences(verification.findings)
        #expect(!sentences.isEmpty && sentences.allSatisfy { $0.hasPrefix("\(shard(1)): ") }, "\(sentences)")
        switch place {
        case "key": #expect(sentences.contains { $0.contains("is no key: the key is not valid UTF-8") }, "\(sentences)")
        case "value": #expect(sentences.contains { $0.contains("its counters add up to") }, "\(sentences)")
        default: #expect(sentences.contains { $0.contains("SQLite finds it damaged: ") }, "\(sentences)")
        }
    }

    @Test func leftovers() throws {
        let path = cluster.folder.path
        for name in ["epoch-0002.staging", "epoch-0009", "up"] { try Files.makeFolder("\(path)/\(name)") }
        try Files.write([1], to: "\(path)/rebalance.journal")
        try Files.write([1], to: "\(path)/epoch-0001/shard-0004-of-0008.sqlite")
        #expect(
            try found() == [
                "epoch-0002.staging: a folder of shards that were never completed",
                "epoch-0009: a folder of an epoch that the cluster file does not know",
                "rebalance.journal: the journal of a rebalance that has not ended",
                "epoch-0001/shard-0004-of-0008.sqlite: a file that is none of the 4 shards of this epoch",
            ])
        // A tool that is at work may leave what it likes meanwhile.
        guard case .acquired(let lock) = try FileLock.attempt(cluster.folder.clusterLockPath) else {
            throw HarnessError("the cluster is locked")
        }
        try withExtendedLifetime(lock) {
            let verification = try cluster.verify()
            #expect(verification.exitCode == .ok)
            #expect(
                cluster.sentences(verification.findings) == [
                    "note data: process \(getpid()) is changing this cluster: what it leaves is not looked at"
                ])
        }
    }

    @Test func aClusterThatIsBeingRebuilt() throws {
        var file = try #require(try cluster.folder.readClusterFile())
        file.state = .building
        try AtomicFile.write(Array(file.json.utf8), to: cluster.folder.clusterFilePath)
        let failure = #expect(throws: Failure.self) { try cluster.verify() }
        #expect(failure?.code == .configuration)
        #expect(failure?.what == "epoch 1 of the cluster is still being built")
    }
}
