// Not a test but a measurement, for `TALLYMILL_MEASURE=1 swift test -c release -Xswiftc -enable-testing --filter
// ApplyMeasurement`: entries a second applied in batches of 10,000 distinct keys, against SQLite's own shell doing the
// same upserts, sorted by key, in one transaction a batch.

import Glibc
import ShardStore
import TallyCore
import Testing

@Suite(.serialized) struct ApplyMeasurement {
    static let isWanted = getenv("TALLYMILL_MEASURE") != nil
    static let batchKeys = 10_000
    static let rounds = 10

    @Test(.enabled(if: isWanted), arguments: [100_000, 1_000_000])
    func applyAgainstTheShell(existing: UInt64) throws {
        let folder = Folder()
        let shard = try ShardFile.sample(in: folder)
        var random = SplitMix64(seed: existing)
        var one = BatchMaker(1)
        var numbers = Array(0..<existing)
        for slice in stride(from: 0, to: numbers.count, by: 100_000) {
            let entries = numbers[slice..<(slice + 100_000)].map { TestEntry(Self.key($0), 1) }
            _ = try shard.apply([one.make(entries)], timeMilliseconds: 1)
        }
        try shard.checkpoint()
        Child.run("/bin/cp", [folder.shard, folder.path + "/shell.sqlite"])
        var batches: [[UInt8]] = []
        var script = Self.settings(folder.path)
        for round in 0..<Self.rounds {
            for index in 0..<Self.batchKeys {
                numbers.swapAt(index, index + Int(random.next(upTo: UInt64(numbers.count - index))))
            }
            let keys = numbers[..<Self.batchKeys].map { Self.key($0) }
            batches.append(one.make(keys.map { TestEntry($0, 1) }))
            script += Self.staging(keys.sorted(), round)
        }
        script += Self.upserts()
        let ours = batches.map { batch in
            seconds { _ = try? shard.apply([batch], timeMilliseconds: 2) }  // the sum is checked below
        }
        let file = folder.write(Array(script.utf8), to: "script.sql")
        let printed = Child.run("/usr/bin/sqlite3", [folder.path + "/shell.sqlite", ".read \(file)"]).output
        let theirs = printed.split(separator: "\n").compactMap { line in
            line.hasPrefix("Run Time: real ") ? Double(line.split(separator: " ")[3]) : nil
        }
        #expect(theirs.count == Self.rounds)
        let total = Int128(existing) + Int128(Self.rounds * Self.batchKeys)
        #expect(try shard.statistics().total == total)
        #expect(shell(folder.path + "/shell.sqlite", "SELECT sum(value) FROM counters") == "\(total)")
        print("existing keys \(existing): \(Self.rate(ours)) entries/s; sqlite3 shell \(Self.rate(theirs)) entries/s")
        let scan = try ShardReader(at: folder.shard)
        let ourScan = seconds { _ = try? scan.totals() }  // only its time is of interest
        let shellScan = seconds { _ = shell(folder.shard, "SELECT count(*), sum(value) FROM counters") }
        print("existing keys \(existing): totals in \(ourScan * 1000) ms; sqlite3 shell \(shellScan * 1000) ms")
    }

    private static func key(_ number: UInt64) -> String { "counter/\(number)" }

    private static func rate(_ seconds: [Double]) -> Int {
        Int(Double(batchKeys) / seconds.sorted()[seconds.count / 2])
    }

    private static func settings(_ folder: String) -> String {
        """
        PRAGMA synchronous = FULL; PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 4096;
        PRAGMA secure_delete = OFF; ATTACH '\(folder)/staging.sqlite' AS staging;

        """
    }

    private static func staging(_ keys: [String], _ round: Int) -> String {
        let values = keys.map { "('\($0)')" }.joined(separator: ",")
        return "CREATE TABLE staging.round\(round)(key TEXT);\nINSERT INTO staging.round\(round) VALUES \(values);\n"
    }

    /// One statement and transaction a round, so that the shell compiles no SQL for each key.
    private static func upserts() -> String {
        let rounds = (0..<rounds).map { round in
            "INSERT INTO counters(key, value, updated_ms) SELECT key, 1, 2 FROM staging.round\(round) WHERE true"
                + " ON CONFLICT(key) DO UPDATE SET value = value + excluded.value, updated_ms = excluded.updated_ms;"
        }
        return ".timer on\n" + rounds.joined(separator: "\n") + "\n"
    }

    private func seconds(_ body: () -> Void) -> Double {
        let start = ContinuousClock.now
        body()
        return (ContinuousClock.now - start) / .seconds(1)
    }
}
