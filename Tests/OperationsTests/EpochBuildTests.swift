// The shards of a new epoch hold exactly what those of the old one held, whatever K does, and what is wrong with an old
// shard is found and named.

import Glibc
import Operations
import ServiceKit
import ShardConsumer
import ShardStore
import Synchronization
import Testing

@testable import TallyCore

@Suite struct EpochBuildTests {
    @Test func chainOfGrowthAndShrinking() throws {
        let seed = UInt64(WallClock.milliseconds()) % 1_000_000
        print("chainOfGrowthAndShrinking: seed \(seed)")
        var random = SplitMix64(seed: seed)
        let epochs = try EpochFixture(partitions: 1)
        let keys = AwkwardKeys.make(6_000, &random)
        var increments: UInt64 = 0
        for (step, partitions) in [4, 7, 3, 8, 8, 1, 5].enumerated() {
            var deltas: [[UInt8]: Int64] = [:]
            for key in keys where random.next() % 3 == 0 { deltas[key] = Int64(random.next() % 2_000_001) - 1_000_000 }
            if step == 0 {
                (deltas[keys[0]], deltas[keys[1]]) = (.max, .min)
            } else {
                deltas[keys[0]] = 0; deltas[keys[1]] = 0
            }
            try epochs.add(deltas, time: 100 + UInt64(step))
            increments += UInt64(deltas.count)
            let old = epochs.counters.keys.map { epochs.number(of: $0) }
            let outcome = try epochs.rebuild(to: partitions)
            let new = epochs.counters.keys.map { epochs.number(of: $0) }
            #expect(outcome.moved == zip(old, new).count { $0 != $1 })
            #expect(outcome.keys == epochs.counters.count)
            #expect(outcome.total == epochs.counters.values.reduce(0) { $0 + Int128($1.value) })
            #expect(try epochs.found() == epochs.counters)
            #expect(try epochs.checkLedgers() == increments)
        }
    }

    @Test func growthMovesNoMoreKeysThanItMust() throws {
        let epochs = try EpochFixture(partitions: 4)
        var deltas: [[UInt8]: Int64] = [:]
        for number in 0..<60_000 { deltas[Array("page/\(number)".utf8)] = 1 }
        try epochs.add(deltas, time: 5)
        for (old, new) in [(4, 7), (7, 16)] {
            let outcome = try epochs.rebuild(to: new)
            let least = Double(deltas.count) * (1 - Double(old) / Double(new))
            #expect(abs(Double(outcome.moved) / least - 1) < 0.01)
        }
    }

    @Test func everyTableIsCarried() throws {
        let epochs = try EpochFixture(partitions: 3)
        let keys = (0..<60).map { Array("key/\($0)".utf8) }
        try epochs.add(Dictionary(uniqueKeysWithValues: keys.map { ($0, 10) }), time: 50)
        var damaged: [StreamID] = []
        for number in 0..<3 {
            let own = keys.filter { epochs.number(of: $0) == number }
            let origin = BatchID(
                stream: StreamID(
                    partition: PartitionID(epoch: 1, number: 2), producer: ProducerID(Bytes16(high: 5, low: 5))),
                sequence: UInt64(40 + number))
            try epochs.apply(to: number, time: 60, origin: origin) { writer in
                for key in own { key.withUnsafeBytes { writer.append(key: $0, increments: 1, sum: 1) } }
            }
            try epochs.apply(to: number, time: 61) { writer in
                writer.beginGroup(Array("request \(number)".utf8))
                for key in own { key.withUnsafeBytes { writer.append(key: $0, increments: 1, sum: 1) } }
            }
            try epochs.apply(to: number, time: 62) { writer in
                own[0].withUnsafeBytes { writer.append(key: $0, increments: 1, sum: .max) }
            }
            damaged.append(
                try epochs.apply(to: number, time: 63, damaged: true) { writer in
                    own[0].withUnsafeBytes { writer.append(key: $0, increments: 1, sum: 1) }
                })
        }
        for (step, partitions) in [7, 2].enumerated() {
            let before = try tables(epochs)
            try epochs.rebuild(to: partitions)
            let after = try tables(epochs)
            #expect(before == after)
            // Five batches a shard.
            #expect(after[.applied]?.count == 15)
            #expect(after[.routed]?.count == 60)
            #expect(after[.claims]?.count == 60)
            for number in 0..<partitions {
                let location = epochs.locations[number]
                let figures = try ShardReader(at: location.path, expecting: location.expected).statistics()
                #expect(figures.claims == (try epochs.rows(of: .claims, in: number).count))
            }
            #expect(after[.deadLetters]?.count == 6)
            try checkPlaces(epochs)
            let letters = try epochs.rows(of: .deadLetters, in: 0).count { $0.key == nil }
            #expect(letters == damaged.count, "step \(step)")
        }
    }

    /// All rows of all shards, by table.
    private func tables(_ epochs: EpochFixture) throws -> [CarriedTable: Set<CarriedRow>] {
        var tables: [CarriedTable: Set<CarriedRow>] = [:]
        for table in CarriedTable.allCases {
            for number in 0..<epochs.topology.partitions {
                let rows = try epochs.rows(of: table, in: number)
                if table != .applied { #expect(tables[table, default: []].isDisjoint(with: rows)) }
                tables[table, default: []].formUnion(rows)
            }
        }
        return tables
    }

    private func checkPlaces(_ epochs: EpochFixture) throws {
        let streams = try epochs.rows(of: .applied, in: 0)
        for number in 0..<epochs.topology.partitions {
            #expect(try epochs.rows(of: .applied, in: number) == streams)
            for table in [CarriedTable.routed, .idempotency, .claims, .deadLetters] {
                for row in try epochs.rows(of: table, in: number) {
                    let place = row.keyHash.map { epochs.topology.partitioner.partition(ofHash: $0) }
                    #expect(place ?? 0 == number)
                }
            }
        }
    }

    @Test func whatWasCountedIsRecognisedAfterwards() throws {
        let epochs = try EpochFixture(partitions: 2)
        let key = Array("k".utf8)
        try epochs.add([key: 5], time: 1)
        let stream = try epochs.apply(to: epochs.number(of: key), time: 2) { writer in
            key.withUnsafeBytes { writer.append(key: $0, increments: 1, sum: 7) }
        }
        epochs.counters[key] = EpochFixture.Row(value: 12, updated: 2)
        try epochs.rebuild(to: 5)
        // The same batch, re-routed by a node that never learnt of its fate.
        try epochs.apply(
            to: epochs.number(of: key), time: 3, origin: BatchID(stream: stream, sequence: 1)
        ) { writer in key.withUnsafeBytes { writer.append(key: $0, increments: 1, sum: 7) } }
        #expect(try epochs.found() == epochs.counters)
    }

    @Test func anEmptyEpoch() throws {
        let epochs = try EpochFixture(partitions: 2)
        let outcome = try epochs.rebuild(to: 3)
        #expect(outcome.keys == 0)
        #expect(outcome.shards.map(\.path).count == 3)
        #expect(try epochs.found() == [:])
    }

    @Test func beginsAgainOverWhatAnInterruptedBuildLeft() throws {
        let epochs = try EpochFixture(partitions: 2)
        try epochs.add([Array("a".utf8): 1, Array("b".utf8): 2], time: 1)
        try epochs.retire()
        let first = try epochs.build(to: 3).run()
        Shell.run("echo damaged > \(epochs.folder.stagingPath(2))/shard-0001-of-0003.sqlite.new")
        #expect(try epochs.build(to: 3).run() == first)
        let names = Shell.run("ls \(epochs.folder.stagingPath(2))").split(separator: "\n").map(String.init)
        let shards = (0..<3).map { "shard-000\($0)-of-0003.sqlite" }
        #expect(names == shards.flatMap { name in ["", "-shm", "-wal", ".lock"].map { name + $0 } })
    }

    @Test func progressReachesItsEndAndStopEndsIt() throws {
        let epochs = try EpochFixture(partitions: 2)
        try epochs.add(Dictionary(uniqueKeysWithValues: (0..<40_000).map { (Array("\($0)".utf8), 1) }), time: 1)
        try epochs.retire()
        let steps = Mutex<[(Int, Int)]>([])
        _ = try epochs.build(to: 4).run { done, total in steps.withLock { $0.append((done, total)) } }
        let told = steps.withLock { $0 }
        #expect(told.map(\.0).max() == 120_000)
        #expect(told.allSatisfy { $0.1 == 120_000 })
        let stop = StopRequest()
        let failure = #expect(throws: Failure.self) {
            _ = try epochs.build(to: 4).run(stop: stop) { done, _ in if done > 20_000 { stop.set() } }
        }
        #expect(failure?.what == "stopped before the new shards were complete")
        #expect(failure?.code == .failure)
    }

    // MARK: What may be wrong

    /// Two shards with a key of the first in the second; `doubled` if it is in both.
    private func misplaced(doubled: Bool) throws -> (EpochFixture, right: String, wrong: String) {
        let epochs = try EpochFixture(partitions: 2)
        try epochs.add(Dictionary(uniqueKeysWithValues: (0..<50).map { (Array("\($0)".utf8), 1) }), time: 1)
        let key = Array("here".utf8)
        let number = epochs.number(of: key)
        if doubled { try epochs.add([key: 3], time: 1) }
        try epochs.apply(to: 1 - number, time: 1) { writer in
            key.withUnsafeBytes { writer.append(key: $0, increments: 1, sum: 4) }
        }
        try epochs.retire()
        return (epochs, epochs.path(number), epochs.path(1 - number))
    }

    @Test(arguments: [1, 2, 3, 6]) func aDoubledKeyIsNamedWithBothFiles(partitions: Int) throws {
        let (epochs, right, wrong) = try misplaced(doubled: true)
        let failure = #expect(throws: Failure.self) { _ = try epochs.build(to: partitions).run() }
        #expect(
            failure?.sentence == "\(wrong): the key \"here\" is in two shards: here and in \(right), where it belongs")
        #expect(failure?.code == .corrupt)
    }

    @Test(arguments: [1, 2, 3, 6]) func aMisplacedKeyIsNamed(partitions: Int) throws {
        let (epochs, right, wrong) = try misplaced(doubled: false)
        let failure = #expect(throws: Failure.self) { _ = try epochs.build(to: partitions).run() }
        #expect(failure?.sentence == "\(wrong): the key \"here\" belongs into \(right)")
    }

    @Test func anOpenShardIsRefused() throws {
        let epochs = try EpochFixture(partitions: 2)
        let failure = #expect(throws: Failure.self) { _ = try epochs.build(to: 3).run() }
        #expect(failure?.what == "it is still open: a consumer may add to it while it is read")
        #expect(failure?.code == .configuration)
    }

    @Test func anAlteredCounterIsFound() throws {
        let epochs = try EpochFixture(partitions: 2)
        try epochs.add([Array("a".utf8): 5], time: 1)
        let path = epochs.path(epochs.number(of: Array("a".utf8)))
        try epochs.retire()
        Shell.run("sqlite3 \(path) 'UPDATE counters SET value = 6'")
        let failure = #expect(throws: Failure.self) { _ = try epochs.build(to: 3).run() }
        #expect(failure?.sentence == "\(path): it holds 1 key with the sum 6, its meta says 1 and 5")
    }

    @Test func twoShardsThatDisagreeAboutAnEarlierStreamAreFound() throws {
        let epochs = try EpochFixture(partitions: 1)
        try epochs.add([Array("a".utf8): 5], time: 1)
        try epochs.rebuild(to: 2)
        try epochs.retire()
        Shell.run("sqlite3 \(epochs.path(1)) 'UPDATE applied SET watermark = 2'")
        let failure = #expect(throws: Failure.self) { _ = try epochs.build(to: 2).run() }
        #expect(failure?.what == "two shards of an earlier epoch disagree about the same stream")
        #expect(failure?.code == .corrupt)
    }

    // MARK: Memory

    @Test func memoryDoesNotGrowWithTheKeys() throws {
        let filler = Shell.path(of: "shard-filler")
        func peakKilobytes(keys: Int) throws -> Int {
            let folder = Shell.run("mktemp -d /tmp/tallymill-filler-XXXXXX")
            defer { Shell.run("rm -rf \(folder)") }
            let filled = Shell.run("\(filler) fill \(folder) \(keys) 3").split(separator: " ")
            let built = Shell.run("\(filler) build \(folder) 3 7").split(separator: " ")
            #expect(built.prefix(2) == filled.prefix(2))
            return try #require(Int(built[3]))
        }
        let (few, many) = (try peakKilobytes(keys: 100_000), try peakKilobytes(keys: 600_000))
        print("memoryDoesNotGrowWithTheKeys: \(few) kB, with six times the keys \(many) kB")
        #expect(many < few + 16_384)
        #expect(many < 128 << 10)
    }
}
