// The two middle steps of a build, and what they hand on: runs from old shards to new ones, and what was built.

import ServiceKit
import ShardConsumer
import ShardStore
import TallyCore

/// A new shard that is complete, and what its file must hold.
struct BuiltShard: Sendable {
    let partition: PartitionID
    let totals: ShardTotals
    /// What the digest of its counters has more than that of the carried ones alone.
    let difference: RowDigest
    let rows: CarriedTally
    let imported: Amount
    let buried: Amount
}

/// How many rows a new shard has beside its counters.
struct CarriedTally: Hashable, Sendable {
    var rows: [CarriedTable: Int] = [:]
    /// The times of all claims, added up modulo 2^64.
    var claimTimes: UInt64 = 0

    mutating func add(_ row: CarriedRow) {
        rows[row.table, default: 0] += 1
        claimTimes &+= UInt64(bitPattern: row.claimTime ?? 0)
    }
}

/// A build under way.
struct BuildWork {
    /// What was read of one old shard.
    struct Read: Sendable {
        let digest: RowDigest
        let moved: Int
        /// By new shard; empty runs where nothing moves to.
        let runs: [Run]
    }

    /// What one task did: read an old shard, made a new one, or both.
    private struct Done: Sendable {
        var read: Read?
        var built: BuiltShard?
    }

    private let tasks: BuildTasks
    private let progress: BuildProgress
    private(set) var reads: [Read] = []
    /// In the order of their numbers, once all are.
    private(set) var built: [BuiltShard] = []

    init(build: EpochBuild, scratch: ScratchFile, progress: BuildProgress, surveys: [OldShardSurvey]) {
        tasks = BuildTasks(build: build, scratch: scratch, surveys: surveys, memory: build.memory(surveys))
        self.progress = progress
    }

    /// What every new shard remembers.
    var memory: ShardMemory { tasks.memory }
    var moved: Int { reads.reduce(0) { $0 + $1.moved } }

    /// What all new shards together must hold: what was read of the old ones, and what came from outside.
    var expected: RowDigest {
        built.reduce(reads.reduce(.empty) { $0 + $1.digest }) { $0 + $1.difference }
    }

    /// Reads what has to be in runs before any run can be read: if K grows every old shard, whose keys that stay are
    /// written at once; if it shrinks those that vanish.
    mutating func readSources() throws(Failure) {
        let (tasks, grows) = (tasks, tasks.placement.keepsEveryShard)
        let first = grows ? 0 : tasks.placement.new.partitions
        try run(first..<tasks.placement.old.partitions) { number, steps throws(Failure) in
            if grows { return try tasks.build(number, reading: true, [], steps) }
            return Done(read: try tasks.read(number, steps))
        }
    }

    /// Makes the shards that need runs.
    mutating func buildTargets() throws(Failure) {
        let (tasks, shrinks) = (tasks, !tasks.placement.keepsEveryShard)
        let runs = reads.map(\.runs)
        let first = shrinks ? 0 : tasks.placement.old.partitions
        try run(first..<tasks.placement.new.partitions) { number, steps throws(Failure) in
            try tasks.build(number, reading: shrinks, runs.map { $0[number] }, steps)
        }
    }

    private mutating func run(
        _ numbers: Range<Int>, _ task: @escaping @Sendable (Int, ProgressSteps) throws(Failure) -> Done
    ) throws(Failure) {
        let progress = progress
        let done = try Workers.map(numbers.count, name: "build") { index, state throws(Failure) in
            try task(numbers.lowerBound + index, ProgressSteps(progress, state))
        }
        reads += done.compactMap(\.read)
        built += done.compactMap(\.built)
    }

    /// What any thread may do.
    private struct BuildTasks: Sendable {
        let build: EpochBuild
        let scratch: ScratchFile
        let surveys: [OldShardSurvey]
        /// What every new shard remembers.
        let memory: ShardMemory

        var placement: Placement { build.placement }

        private func source(
            _ number: Int, _ steps: ProgressSteps
        ) throws(Failure) -> (OldShard, RunWriter) {
            let moving = RunWriter(scratch, destinations: build.new.partitions, blockBytes: build.blockBytes)
            return (try OldShard(number, of: build.old, placement, moving: moving, steps), moving)
        }

        private func finish(_ shard: OldShard, _ moving: RunWriter) throws(Failure) -> Read {
            Read(digest: shard.digest, moved: shard.moved, runs: try moving.finish())
        }

        /// Writes all counters of a vanishing shard to runs.
        func read(_ number: Int, _ steps: ProgressSteps) throws(Failure) -> Read {
            let (shard, moving) = try source(number, steps)
            let hasKeyAtHome = try shard.next()
            precondition(!hasKeyAtHome, "a key stays in a shard that vanishes")
            return try finish(shard, moving)
        }

        /// Makes a new shard, out of the old one of its number if it is still to be read, and of runs.
        func build(
            _ number: Int, reading: Bool, _ runs: [Run], _ steps: ProgressSteps
        ) throws(Failure) -> Done {
            let partition = build.new.partitionIDs[number]
            let builder = try onStore { () throws(StoreError) in
                try ShardBuilder(
                    at: build.path(partition), identity: build.identity(partition), timeMilliseconds: build.time)
            }
            let old = reading ? try source(number, steps) : nil
            var carried = runs.filter { !$0.isEmpty }.map { CarriedCounters.moved(MovedCounters($0, scratch)) }
            if let old { carried.append(.stayed(old.0)) }
            var assembly = try ShardAssembly(
                builder, carried, try imported(partition), time: build.time, steps)
            try assembly.run()
            let tally = try carry(number, into: builder)
            let built = try finish(builder, assembly, tally)
            return Done(read: try old.map { old throws(Failure) in try finish(old.0, old.1) }, built: built)
        }

        private func imported(_ partition: PartitionID) throws(Failure) -> ShardAssembly.ImportedRows? {
            guard let imports = build.imports else { return nil }
            let number = Int(partition.number)
            let stream = StreamID(partition: partition, producer: imports.producer)
            return ShardAssembly.ImportedRows(
                entries: try imports.source(number), increments: imports.amounts[number].increments,
                batch: BatchID(stream: stream, sequence: 1))
        }

        /// Inserts the rows beside the counters; returns what there is now.
        private func carry(_ number: Int, into builder: ShardBuilder) throws(Failure) -> CarriedTally {
            var tally = CarriedTally()
            var lost = LossUnion(for: builder.path)
            for survey in surveys {
                var found: [CarriedTable: Int] = [:]
                let lag = memory.claimClock.offset(of: survey.memory.claimClock)
                for place in [number, build.everywhere] {
                    let run = CarriedRun(survey.carried[place], scratch)
                    while let row = try run.next() {
                        found[row.table, default: 0] += 1
                        if row.table == .losses {
                            try onStore { () throws(StoreError) in try lost.add(row) }
                        } else {
                            try insert(row.raised(by: lag), into: builder, &tally)
                        }
                    }
                }
                let expected = survey.rows[number].merging(survey.rows[build.everywhere], uniquingKeysWith: +)
                precondition(found == expected, "a run does not hold what was written to it")
            }
            for row in lost.rows { try insert(row, into: builder, &tally) }
            return tally
        }

        private func insert(
            _ row: CarriedRow, into builder: ShardBuilder, _ tally: inout CarriedTally
        ) throws(Failure) {
            let isNew = try onStore { () throws(StoreError) in try builder.insert(row) }
            if isNew { tally.add(row) }
            // Shards of one epoch agree about the watermarks of earlier ones: each brings them all.
            if !isNew, !row.table.isEverywhere { throw doubledClaim(builder.path) }
        }

        private func doubledClaim(_ path: String) -> Failure {
            Failure(
                .corrupt, "two old shards have counted the same re-routed or repeated increment", at: path,
                advice: "`tallymill verify` shows which keys lie in a wrong shard.")
        }

        private func finish(
            _ builder: ShardBuilder, _ assembly: ShardAssembly, _ carried: CarriedTally
        ) throws(Failure) -> BuiltShard {
            var tally = carried
            tally.rows[.deadLetters, default: 0] += assembly.letters
            let all = surveys.reduce(0) { $0 &+ $1.increments }
            let (share, rest) = all.quotientAndRemainder(dividingBy: UInt64(build.new.partitions))
            let increments = share + (builder.identity.partition.number < rest ? 1 : 0)
            let start = ShardStart(
                carried: Amount(increments: increments, sum: assembly.carriedSum), imported: assembly.importedAmount)
            try onStore { () throws(StoreError) in try builder.finish(start: start, memory: memory) }
            return BuiltShard(
                partition: builder.identity.partition, totals: builder.totals, difference: assembly.difference,
                rows: tally, imported: assembly.importedAmount, buried: assembly.buried)
        }
    }
}
