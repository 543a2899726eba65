// What a change of epoch carries of what the old shards remember: losses, the times of claims, and what was forgotten.

import Operations
import ServiceKit
import ShardStore
import Testing

@testable import TallyCore

@Suite struct EpochMemoryTests {
    private static let lost = "INSERT INTO lost VALUES(1, 1, X'000000000000000000000000000000AA', 4, 9"

    private func alter(_ epochs: EpochFixture, _ number: Int, _ sql: String) {
        Shell.run("sqlite3 \(epochs.path(number)) \"\(sql)\"")
    }

    private func memory(_ epochs: EpochFixture, _ number: Int) throws -> ShardMemory {
        try ShardReader(at: epochs.path(number)).memory()
    }

    /// What a shard remembers, by the rows of `meta`.
    private func remember(_ epochs: EpochFixture, _ number: Int, _ rows: [String: String]) {
        for (name, value) in rows {
            alter(epochs, number, "INSERT OR REPLACE INTO meta VALUES('\(name)', '\(value)')")
        }
    }

    @Test func lossesGoEverywhere() throws {
        let epochs = try EpochFixture(partitions: 2)
        try epochs.add([Array("a".utf8): 1, Array("b".utf8): 2], time: 1)
        alter(epochs, 0, "\(Self.lost), 3, '-8', 100)")
        // Told at another time.
        alter(epochs, 1, "\(Self.lost), 3, '-8', 200)")
        alter(epochs, 1, "INSERT INTO lost VALUES(1, 1, X'000000000000000000000000000000BB', 1, 1, NULL, NULL, 5)")
        for partitions in [3, 1, 4] {
            try epochs.rebuild(to: partitions)
            for number in 0..<partitions {
                let losses = try ShardReader(at: epochs.path(number)).losses()
                #expect(losses.map(\.sequences) == [4...9, 1...1])
                #expect(losses.map(\.amount) == [Amount(increments: 3, sum: -8), nil])
            }
        }
    }

    @Test func shardsThatDisagreeAboutALoss() throws {
        let epochs = try EpochFixture(partitions: 2)
        alter(epochs, 0, "\(Self.lost), 3, '-8', 100)")
        alter(epochs, 1, "\(Self.lost), 3, '-7', 100)")
        try epochs.retire()
        let failure = #expect(throws: Failure.self) { _ = try epochs.build(to: 3).run() }
        #expect(failure?.what == "two shards of an earlier epoch disagree about how much was lost")
        #expect(failure?.code == .corrupt)
    }

    /// Each knows a part of it, one of them how much it was.
    @Test(arguments: [true, false]) func lossesAreUnited(isFirstKnown: Bool) throws {
        let epochs = try EpochFixture(partitions: 3)
        let row = "INSERT INTO lost VALUES(1, 0, X'000000000000000000000000000000AA'"
        alter(epochs, isFirstKnown ? 0 : 2, "\(row), 4, 9, 3, '-8', 100)")
        alter(epochs, isFirstKnown ? 2 : 0, "\(row), 2, 12, NULL, NULL, 50)")
        alter(epochs, 1, "\(row), 12, 20, NULL, NULL, 70)")
        for partitions in [2, 4] {
            try epochs.rebuild(to: partitions)
            for number in 0..<partitions {
                let losses = try ShardReader(at: epochs.path(number)).losses()
                #expect(losses.map(\.sequences) == [2...3, 4...9, 10...12, 13...20])
                #expect(losses.map(\.amount) == [nil, Amount(increments: 3, sum: -8), nil, nil])
            }
        }
    }

    /// The clock of a new shard is ahead of both, and a claim lives as long as it would have.
    @Test(arguments: [1, 3]) func claimsAreRaisedToTheJoinedClock(partitions: Int) throws {
        let epochs = try EpochFixture(partitions: 2)
        let keys = (0..<2).map { number in
            (0...).lazy.map { Array("key/\($0)".utf8) }.first { epochs.number(of: $0) == number } ?? []
        }
        for number in 0..<2 {
            let key = String(decoding: keys[number], as: UTF8.self)
            alter(epochs, number, "INSERT INTO idempotency VALUES('request', '\(key)', \(1_000 + number))")
            let hash = Int64(bitPattern: XXH64.hash(keys[number]))
            let digest = String(repeating: "0\(number)", count: 16)
            alter(epochs, number, "INSERT INTO claim VALUES(x'\(digest)', \(hash), \(2_000 + number))")
            let id = String(repeating: "0", count: 32)
            alter(epochs, number, "INSERT INTO idempotency VALUES('import:\(id)', '\(key)', \(Int64.max))")
        }
        remember(epochs, 0, ["claims_clock_ms": "5000 100 0 0 0 0"])
        remember(
            epochs, 1,
            [
                "claims_clock_ms": "4900 50 0 0 0 0", "forgotten_epoch": "0",
                "imports": String(repeating: "1", count: 32),
            ])
        let known = Bytes16(high: 7, low: 7)
        try epochs.rebuild(to: partitions, knownImports: [known])
        var times: [Int64] = []
        for number in 0..<partitions {
            let memory = try memory(epochs, number)
            #expect(memory.claimClock == ClaimClock(time: 5_000, decidesFrom: 150, startTime: 5_000))
            #expect(memory.imports.map(\.description) == [String(repeating: "1", count: 32), known.description])
            #expect(memory.forgottenEpoch == 0)
            for table in [CarriedTable.idempotency, .claims] {
                times += try epochs.rows(of: table, in: number).compactMap(\.claimTime)
            }
        }
        #expect(times.sorted() == [1_000, 1_101, 2_000, 2_101, .max, .max])
    }

    /// A build that forgot any of it does not pass its own check.
    @Test func aDirectImportIsNamedInEveryShard() throws {
        let epochs = try EpochFixture(partitions: 3)
        let id = Bytes16(high: 1, low: 2)
        let none = EpochBuild.Import(id: id, amounts: [.zero, .zero, .zero]) { _ in NoEntries() }
        try epochs.rebuild(to: 3, importing: none)
        for number in 0..<3 { #expect(try memory(epochs, number).imports == [id]) }
        try epochs.rebuild(to: 4, knownImports: [id])
        for number in 0..<4 { #expect(try memory(epochs, number).imports == [id]) }
    }

    @Test func aPurgedEpochStaysForgotten() throws {
        let epochs = try EpochFixture(partitions: 2)
        remember(epochs, 1, ["forgotten_epoch": "4"])
        try epochs.rebuild(to: 2)
        for number in 0..<2 { #expect(try memory(epochs, number).forgottenEpoch == 4) }
    }

    /// A file that release 0.1.0 has closed stays as it is: its tools' claims, which still had a time, lose it now.
    @Test func closedFilesOfVersion1() throws {
        let epochs = try EpochFixture(partitions: 1)
        try epochs.add([Array("a".utf8): 1], time: 1)
        let id = String(repeating: "a", count: 32)
        for name in ["import:\(id)", "import:\(id):2", "dead-letter:\(id):1.0.3:\(id)", "import:of mine", "request"] {
            alter(epochs, 0, "INSERT INTO idempotency VALUES('\(name)', 'a', 70)")
        }
        try epochs.retire()
        alter(epochs, 0, "DROP TABLE lost; PRAGMA user_version = 1")
        let outcome = try epochs.build(to: 2).run()
        #expect(outcome.keys == 1)
        let rows = try outcome.shards.flatMap { shard in
            let cursor = try ShardReader(at: shard.path).rows(of: .idempotency)
            var rows: [CarriedRow] = []
            while let row = try cursor.next() { rows.append(row) }
            return rows
        }
        let mortal = rows.filter { $0.claimTime == 70 }.map { row -> String in
            guard case .text(let id) = row.values[0] else { return "" }
            return String(decoding: id, as: UTF8.self)
        }
        #expect(rows.count == 5)
        #expect(Set(mortal) == ["import:of mine", "request"])
        #expect(rows.count { $0.claimTime == .max } == 3)
    }
}

private struct NoEntries: SortedSource {
    func next() -> Bool { false }
    var key: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: nil, count: 0) }
    var value: Int64 { 0 }
}
