// What a change of epoch does on disk: the staging folder and the shards' places.

import TallyCore

extension World {
    /// Step 4: sums, dead letters, idempotency and routed rows go by key, watermarks go into every new file.
    func build(_ cluster: ClusterFile) {
        guard let old = cluster.earlier.last else { return }
        let staged = cluster.topology.partitionIDs.map { newFile($0) }
        let place = { (key: [UInt8]) in staged[cluster.topology.partitioner.partition(ofHash: XXH64.hash(key))] }
        let oldFiles = old.partitionIDs.compactMap { files[$0] }
        var clock = ClaimClock()
        for file in oldFiles { clock.join(file.tables.claimClock) }
        for new in staged { new.tables.claimClock = clock }
        for file in oldFiles {
            for new in staged where mutation != .noCarry {
                new.tables.records.merge(file.tables.records) { $0.watermark >= $1.watermark ? $0 : $1 }
                new.tables.claimedOrigins.formUnion(file.tables.claimedOrigins)
            }
            for (key, value) in file.tables.counters {
                place(key).tables.counters[key] = value
                place(key).tables.carried += Int128(value)
            }
            carryClaims(of: file, to: staged, place)
            for row in file.tables.routed where mutation != .routedNotCarried {
                place(row.key).tables.routed.insert(row)
            }
            for letter in file.tables.deadLetters { place(letter.key ?? []).tables.deadLetters.append(letter) }
        }
        if let id = cluster.importing { load(id, into: staged, place) }
        staging = staged
    }

    /// The lines of a direct import, and its name: what an earlier attempt may still bring is recognised by it.
    private func load(_ id: Bytes16, into staged: [ModelShard], _ place: ([UInt8]) -> ModelShard) {
        guard let request = oracle.importRequest(id) else { return }
        for line in oracle[request].increments {
            let file = place(line.key)
            file.tables.counters[line.key, default: 0] += line.delta
            file.tables.carried += Int128(line.delta)
        }
        for file in staged where mutation != .unnamedImport { file.tables.imports.insert(id) }
    }

    /// Claims go by key, with their times on the clock of the new files, which is ahead of all old ones.
    private func carryClaims(of file: ModelShard, to staged: [ModelShard], _ place: ([UInt8]) -> ModelShard) {
        for new in staged {
            new.tables.imports.formUnion(file.tables.imports)
            new.tables.losses += file.tables.losses.filter { !new.tables.losses.contains($0) }
            new.tables.forgotten = max(new.tables.forgotten, file.tables.forgotten)
        }
        for (row, time) in file.tables.idempotency {
            let clock = place(row.key).tables.claimClock
            let (stamp, isEndless) = time.addingReportingOverflow(clock.offset(of: file.tables.claimClock))
            place(row.key).tables.idempotency[row] = isEndless ? .max : stamp
        }
    }

    /// The end of step 5: the folder is renamed, never over an existing one.
    func place() {
        if let epoch = staging.first?.partition.epoch, !files.keys.contains(where: { $0.epoch == epoch }) {
            for file in staging { files[file.partition] = file }
        }
        staging = []
    }
}
