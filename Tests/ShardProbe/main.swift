// What the tests of ShardStore need another process for: one that is killed while it applies, one that holds the lock,
// one that reads as another user.
//
//   shard-probe apply SHARD BATCHES   applies each batch of the file in a transaction of its own, prints its number
//   shard-probe hold SHARD            opens the shard, prints "open", closes it at the end of its input
//   shard-probe forget SHARD TIME RETENTION
//                                     sets the claim clock and forgets claims, seven in a transaction, prints how many
//   shard-probe read SHARD            prints the number of keys, their sum and the first key
//
// BATCHES holds, for each batch, 8 bytes of length (little-endian) and the batch.

import Glibc
import ShardStore
import TallyCore

/// Tells the test at once: what is buffered would die with the process.
func say(_ text: String) {
    let bytes = Array((text + "\n").utf8)
    precondition(write(1, bytes, bytes.count) == bytes.count)
}

func contents(_ path: String) -> [UInt8] {
    guard let file = fopen(path, "r") else { return [] }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    while case let count = fread(&chunk, 1, chunk.count, file), count > 0 { bytes += chunk[..<count] }
    return bytes
}

func batches(_ path: String) -> [[UInt8]] {
    var rest = contents(path)[...]
    var batches: [[UInt8]] = []
    while rest.count >= 8 {
        let length = rest.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
        batches.append(Array(rest.dropFirst(8).prefix(length)))
        rest = rest.dropFirst(8 + length)
    }
    return batches
}

func open(_ path: String) throws(StoreError) -> ShardFile {
    let identity = try ShardReader(at: path).identity
    return try ShardFile.open(
        at: path,
        expecting: ShardExpectation(
            cluster: identity.cluster, partition: identity.partition, partitions: identity.partitions))
}

func apply(_ path: String, _ list: String) throws(StoreError) {
    let shard = try open(path)
    say("open")
    for (index, batch) in batches(list).enumerated() {
        guard case .commit = try shard.apply([batch], timeMilliseconds: 1) else { exit(1) }
        say("\(index + 1)")
    }
}

func forget(_ path: String, _ time: String, _ retention: String) throws(StoreError) {
    let shard = try open(path)
    shard.advanceClaimClock(to: UInt64(time) ?? 0, elapsed: 1 << 40)
    say("open")
    var all = 0
    while true {
        let removed = try shard.forgetClaims(retention: UInt64(retention) ?? 0, oldestWaiting: nil, limit: 7)
        if removed == 0 { return }
        all += removed
        say("\(all)")
    }
}

func hold(_ path: String) throws(StoreError) {
    let shard = try open(path)
    say("open")
    while getchar() != EOF {}
    withExtendedLifetime(shard) {}
}

func show(_ path: String) throws(StoreError) {
    let reader = try ShardReader(at: path)
    let totals = try reader.totals()
    let cursor = try reader.counters()
    let first = try cursor.next() ? String(decoding: cursor.key, as: UTF8.self) : "-"
    say("\(totals.keys) \(totals.sum) \(first)")
}

let arguments = CommandLine.arguments
do throws(StoreError) {
    switch (arguments.dropFirst().first, arguments.count) {
    case ("apply", 4): try apply(arguments[2], arguments[3])
    case ("forget", 5): try forget(arguments[2], arguments[3], arguments[4])
    case ("hold", 3): try hold(arguments[2])
    case ("read", 3): try show(arguments[2])
    default: exit(64)
    }
} catch {
    say("\(error.code.rawValue): \(error)")
    exit(error.exitCode)
}
