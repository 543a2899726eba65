// What a change of epoch does on disk: the staging folder and the shards' places.

import TallyCore

extension World {
    /// Step 4: sums, dead letters, idempotency and routed rows go by key, watermarks go into every new file.
    func build(_ cluster: ClusterFile) {
        guard let old = cluster.earlier.last else { return }
        let staged = cluster.topology.partitionIDs.map { newFile($0) }
        let place = { (key: [UInt8]) in staged[cluster.topology.partitioner.partition(ofHash: XXH64.hash(key))] }
        for partition in old.partitionIDs {
            guard let file = files[partition] else { continue }
            for new in staged where mutation != .noCarry {
                new.tables.records.merge(file.tables.records) { $0.watermark >= $1.watermark ? $0 : $1 }
                new.tables.claimedOrigins.formUnion(file.tables.claimedOrigins)
            }
            for (key, value) in file.tables.counters {
                place(key).tables.counters[key] = value
                place(key).tables.carried += Int128(value)
            }
            for row in file.tables.idempotency { place(row.key).tables.idempotency.insert(row) }
            for row in file.tables.routed where mutation != .routedNotCarried {
                place(row.key).tables.routed.insert(row)
            }
            for letter in file.tables.deadLetters { place(letter.key ?? []).tables.deadLetters.append(letter) }
        }
        staging = staged
    }

    /// The end of step 5: the folder is renamed, never over an existing one.
    func place() {
        if let epoch = staging.first?.partition.epoch, !files.keys.contains(where: { $0.epoch == epoch }) {
            for file in staging { files[file.partition] = file }
        }
        staging = []
    }
}
