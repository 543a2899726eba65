// The last step of a build: every new file is read as a stranger would, and must hold what it should.

import ServiceKit
import ShardConsumer
import ShardStore
import TallyCore

extension EpochBuild {
    /// - Throws: 65 for anything that is not where it should be, or not at all.
    func check(_ work: BuildWork, _ progress: BuildProgress) throws(Failure) {
        let built = work.built
        let memory = work.memory
        let digests = try Workers.map(built.count, name: "check") { number, state throws(Failure) in
            try check(built[number], memory, ProgressSteps(progress, state))
        }
        let (found, expected) = (digests.reduce(.empty) { $0 + $1 }, work.expected)
        if found != expected {
            throw wrong(
                "the new shards hold \(Humanized.count(found.keys, "key")) with the sum \(found.sum) and the checksum"
                    + " \(found.checksum), not \(expected.keys), \(expected.sum) and \(expected.checksum)", staging)
        }
    }

    private func check(
        _ shard: BuiltShard, _ memory: ShardMemory, _ steps: ProgressSteps
    ) throws(Failure) -> RowDigest {
        let identity = identity(shard.partition)
        let path = path(shard.partition)
        let reader = try onStore { () throws(StoreError) in
            try ShardReader(
                at: path,
                expecting: ShardExpectation(
                    cluster: identity.cluster, partition: identity.partition, partitions: identity.partitions,
                    uuid: identity.uuid))
        }
        let digest = try digest(of: reader, Int(shard.partition.number), steps)
        let figures = try onStore { () throws(StoreError) in try reader.statistics() }
        for (keys, sum) in [(shard.totals.keys, shard.totals.sum), (figures.keys, figures.total)]
        where keys != digest.keys || sum != digest.sum {
            let held = Humanized.count(digest.keys, "key")
            throw wrong("it holds \(held) with the sum \(digest.sum), not \(keys) and \(sum)", path)
        }
        let found = try carried(reader)
        for table in CarriedTable.allCases {
            let (rows, expected) = (found.rows[table] ?? 0, shard.rows.rows[table] ?? 0)
            if rows != expected { throw wrong("its table \(table) has \(rows) rows, not \(expected)", path) }
        }
        if found.claimTimes != shard.rows.claimTimes {
            throw wrong("its claims do not have the times they should", path)
        }
        if try onStore({ () throws(StoreError) in try reader.memory() }) != memory {
            throw wrong("it does not remember what the old shards remembered", path)
        }
        return digest
    }

    private func digest(
        of reader: ShardReader, _ number: Int, _ steps: ProgressSteps
    ) throws(Failure) -> RowDigest {
        var steps = steps
        var digest = RowDigest.empty
        let cursor = try onStore { () throws(StoreError) in try reader.counters() }
        while try onStore({ () throws(StoreError) in try cursor.next() }) {
            let hash = XXH64.hash(cursor.key)
            if placement.new.partition(ofHash: hash) != number {
                throw wrong("it holds a key of another shard", reader.path)
            }
            digest.add(hash: hash, value: cursor.value, updatedMilliseconds: cursor.updatedMilliseconds)
            try steps.countRow()
        }
        try steps.tell()
        return digest
    }

    private func carried(_ reader: ShardReader) throws(Failure) -> CarriedTally {
        var tally = CarriedTally()
        for table in CarriedTable.allCases {
            let cursor = try onStore { () throws(StoreError) in try reader.rows(of: table) }
            while let row = try onStore({ () throws(StoreError) in try cursor.next() }) {
                let place = destination(of: row)
                if place != everywhere, place != reader.identity.partition.number {
                    throw wrong("its table \(table) holds a row of another shard", reader.path)
                }
                tally.add(row)
            }
        }
        return tally
    }

    private func wrong(_ what: String, _ path: String) -> Failure {
        Failure(
            .corrupt, what, at: path,
            advice: "Nothing was changed: check the disk and the memory of this host, then resume.")
    }
}
