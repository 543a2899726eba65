// The first step of a build: what the old shards say about themselves, and their rows beside the counters, which are
// few.

import ServiceKit
import ShardConsumer
import ShardStore
import TallyCore

/// What one old shard brings beside its counters.
struct OldShardSurvey: Sendable {
    /// As its meta says.
    let keys: Int
    /// Increments that are in its counters.
    let increments: UInt64
    let memory: ShardMemory
    /// Claims and dead letters by new shard, and behind them the rows that go to every new shard.
    let carried: [Run]
    /// Rows in `carried`, in the same order, by table.
    let rows: [[CarriedTable: Int]]
}

extension EpochBuild {
    /// Where the rows for every shard are in `OldShardSurvey.carried`.
    var everywhere: Int { new.partitions }

    func survey(_ scratch: ScratchFile) throws(Failure) -> [OldShardSurvey] {
        try Workers.map(old.count, name: "survey") { number, _ throws(Failure) in
            try survey(old[number], scratch)
        }
    }

    private func survey(_ location: ShardLocation, _ scratch: ScratchFile) throws(Failure) -> OldShardSurvey {
        let reader = try onStore { () throws(StoreError) in
            try ShardReader(at: location.path, expecting: location.expected)
        }
        guard reader.state == .retired else {
            throw Failure(
                .configuration, "it is still open: a consumer may add to it while it is read", at: location.path,
                advice: "Resume the change of epoch: it drains the queue and closes the file.")
        }
        let writer = RunWriter(scratch, destinations: new.partitions + 1, blockBytes: blockBytes)
        var rows: [[CarriedTable: Int]] = Array(repeating: [:], count: new.partitions + 1)
        for table in CarriedTable.allCases {
            let cursor = try onStore { () throws(StoreError) in try reader.rows(of: table) }
            while let row = try onStore({ () throws(StoreError) in try cursor.next() }) {
                let place = destination(of: row)
                try writer.append(row, to: place)
                rows[place][table, default: 0] += 1
            }
        }
        let (start, applied, figures, memory) = try onStore { () throws(StoreError) in
            (try reader.start(), try reader.ownApplied(), try reader.statistics(), try reader.memory())
        }
        return OldShardSurvey(
            keys: figures.keys,
            increments: start.carried.increments &+ start.imported.increments &+ applied.increments,
            memory: memory, carried: try writer.finish(), rows: rows)
    }

    /// The new shard of a row, or `everywhere`.
    func destination(of row: CarriedRow) -> Int {
        if row.table.isEverywhere { return everywhere }
        guard let hash = row.keyHash else { return 0 }
        return placement.new.partition(ofHash: hash)
    }
}
