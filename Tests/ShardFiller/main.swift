// Makes the shards that deploy/bench-rebalance starts from, and builds the next epoch out of them.
//
//     shard-filler fill FOLDER KEYS K     K shards of epoch 1 with KEYS counters in all, retired
//     shard-filler build FOLDER K K'      K' shards of epoch 2 in FOLDER/epoch-0002.staging
//
// FOLDER is laid out as a data folder, without a cluster file. Both print the keys and their sum; `build` also the keys
// that moved and the peak of its resident memory in kB. Key number n is "page/" and the 16 hexadecimal digits of a mix
// of n, as in deploy/peers/upsert.c.

import Glibc
import Operations
import ServiceKit
import ShardConsumer
import ShardStore
import TallyCore

let cluster = ClusterID(Bytes16(high: 0xBE7C, low: 1))

func locations(_ folder: DataFolder, _ partitions: Int) -> [ShardLocation] {
    let topology = Topology(cluster: cluster, epoch: 1, partitions: partitions)
    return topology.partitionIDs.map { folder.shard($0.number, of: topology) }
}

func fill(_ folder: DataFolder, keys: UInt64, partitions: Int) throws {
    let locations = locations(folder, partitions)
    guard mkdir(folder.epochPath(1), 0o750) == 0 else { exit(73) }
    let builders = try locations.map { location in
        let uuid = ShardUUID(derivedFor: location.partition, of: cluster)
        let identity = ShardIdentity(
            cluster: cluster, partition: location.partition, partitions: partitions, uuid: uuid)
        return try ShardBuilder(at: location.path, identity: identity, timeMilliseconds: 1_700_000_000_000)
    }
    // Their digits sort as the numbers do.
    let numbers = (1...keys).map { SplitMix64.mix($0) }.sorted()
    let partitioner = Partitioner(partitions: partitions)
    let digits = Array("0123456789abcdef".utf8)
    var key = Array("page/".utf8) + [UInt8](repeating: 0, count: 16)
    for number in numbers {
        for place in 0..<16 { key[5 + place] = digits[Int(number >> UInt64(60 - 4 * place) & 15)] }
        let builder = builders[partitioner.partition(ofHash: XXH64.hash(key))]
        try key.withUnsafeBytes {
            try builder.append(
                key: $0, value: Int64(number % 20_001) - 10_000, updatedMilliseconds: 1_700_000_000_000 + number % 1_000
            )
        }
    }
    for (builder, location) in zip(builders, locations) {
        let carried = Amount(increments: UInt64(builder.totals.keys), sum: builder.totals.sum)
        try builder.finish(start: ShardStart(carried: carried, imported: .zero))
        try location.open().retire()
    }
    print(keys, builders.reduce(0) { $0 + $1.totals.sum })
}

func build(_ folder: DataFolder, from old: Int, to new: Int) throws {
    let topology = Topology(cluster: cluster, epoch: 2, partitions: new)
    let build = EpochBuild(
        from: locations(folder, old), to: topology, staging: folder.stagingPath(2),
        timeMilliseconds: UInt64(WallClock.milliseconds()))
    let outcome = try build.run()
    print(outcome.keys, outcome.total, outcome.moved, try peakKilobytes())
}

func peakKilobytes() throws -> Int {
    let status = try FileContent.readIfPresent("/proc/self/status", maximumBytes: 1 << 16) ?? []
    for line in String(decoding: status, as: UTF8.self).split(separator: "\n") where line.hasPrefix("VmHWM:") {
        return Int(line.split { $0 == " " || $0 == "\t" }[1]) ?? 0
    }
    return 0
}

do {
    let arguments = CommandLine.arguments
    switch (arguments.dropFirst().first, arguments.count) {
    case ("fill", 5):
        guard let keys = UInt64(arguments[3]), keys > 0, let partitions = Int(arguments[4]) else { exit(64) }
        try fill(DataFolder(arguments[2]), keys: keys, partitions: partitions)
    case ("build", 5):
        guard let old = Int(arguments[3]), let new = Int(arguments[4]) else { exit(64) }
        try build(DataFolder(arguments[2]), from: old, to: new)
    default: exit(64)
    }
} catch {
    let line = Array("shard-filler: \(error)\n".utf8)
    _ = write(2, line, line.count)  // nobody is left to tell
    exit(74)
}
