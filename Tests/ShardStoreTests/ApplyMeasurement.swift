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
        var random = SplitMix64(existing)
        var one = BatchMaker(1)
        var numbers = Array(0..<existing)
        for slice in stride(from: 0, to: numbers.count, by: 100_000) {
            let entries = numbers[slice..<(slice + 100_000)].map { TestEntry(Self.key($0), 1) }
            _ = try shard.apply([one.make(entries)], timeMilliseconds: 1)
        }
        try shard.checkpoint()
        Child.run("/bin/cp", [folder.shard, folder.path + "/shell.sqlite"])
        var batches: [[UInt8]] = []
        var scripts: [String] = []
        for round in 0..<Self.rounds {
            for index in 0..<Self.batchKeys {
                numbers.swapAt(index, index + Int(random.next(upTo: UInt64(numbers.count - index))))
            }
            let keys = numbers[..<Self.batchKeys].map { Self.key($0) }
            batches.append(one.make(keys.map { TestEntry($0, 1) }))
            scripts.append(folder.write(Self.script(keys.sorted()), to: "round-\(round).sql"))
        }
        var ours: [Double] = []
        var theirs: [Double] = []
        for round in 0..<Self.rounds {
            ours.append(seconds { _ = try? shard.apply([batches[round]], timeMilliseconds: 2) })  // the sum is checked
            let before = shellSeconds(folder.path + "/shell.sqlite", scripts[..<0])
            theirs.append(shellSeconds(folder.path + "/shell.sqlite", [scripts[round]]) - before)
        }
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

    private static func script(_ keys: [String]) -> [UInt8] {
        var text = "BEGIN IMMEDIATE;\n"
        for key in keys {
            text += "INSERT INTO counters(key, value, updated_ms) VALUES('\(key)', 1, 2) ON CONFLICT(key) DO UPDATE"
            text += " SET value = value + 1, updated_ms = 2;\n"
        }
        return Array((text + "COMMIT;\n").utf8)
    }

    private func shellSeconds(_ path: String, _ scripts: some Sequence<String>) -> Double {
        let settings = ["PRAGMA synchronous = FULL", "PRAGMA cache_size = -65536"]
        return seconds { Child.run("/usr/bin/sqlite3", [path] + settings + scripts.map { ".read \($0)" }) }
    }

    private func seconds(_ body: () -> Void) -> Double {
        let start = ContinuousClock.now
        body()
        return (ContinuousClock.now - start) / .seconds(1)
    }
}
