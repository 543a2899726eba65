// The last step of a build: every new file is read as a stranger would, and must hold what it should.

import ServiceKit
import ShardConsumer
import ShardStore
import TallyCore

extension EpochBuild {
    /// - Throws: 65 for anything that is not where it should be, or not at all.
    func check(_ work: BuildWork, _ progress: BuildProgress) throws(Failure) {
        let built = work.built
        let digests = try Workers.map(built.count, name: "check") { number, state throws(Failure) in
            try check(built[number], ProgressSteps(progress, state))
        }
        let (found, expected) = (digests.reduce(.empty) { $0 + $1 }, work.expected)
        if found != expected {
            throw wrong(
                "the new shards hold \(found.keys) keys with the sum \(found.sum) and the checksum \(found.checksum),"
                    + " not \(expected.keys), \(expected.sum) and \(expected.checksum)", staging)
        }
    }

    private func check(_ shard: BuiltShard, _ steps: ProgressSteps) throws(Failure) -> RowDigest {
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
            throw wrong("it holds \(digest.keys) keys with the sum \(digest.sum), not \(keys) and \(sum)", path)
        }
        for table in CarriedTable.allCases {
            let (rows, expected) = (try rows(of: table, reader), shard.rows[table] ?? 0)
            if rows != expected { throw wrong("its table \(table) has \(rows) rows, not \(expected)", path) }
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

    private func rows(of table: CarriedTable, _ reader: ShardReader) throws(Failure) -> Int {
        let cursor = try onStore { () throws(StoreError) in try reader.rows(of: table) }
        var rows = 0
        while let row = try onStore({ () throws(StoreError) in try cursor.next() }) {
            let place = destination(of: row)
            if place != everywhere, place != reader.identity.partition.number {
                throw wrong("its table \(table) holds a row of another shard", reader.path)
            }
            rows += 1
        }
        return rows
    }

    private func wrong(_ what: String, _ path: String) -> Failure {
        Failure(
            .corrupt, what, at: path,
            advice: "Nothing was changed: check the disk and the memory of this host, then resume.")
    }
}
