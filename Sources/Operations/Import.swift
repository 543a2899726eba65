// `import`: counts from elsewhere, each exactly once, however often the command is repeated.
//
// The lines are sorted first and summed by key; nothing has happened until that is done. Then there are two ways.
// Into an empty cluster the sums go directly: a change of epoch with as many partitions as before builds new shards
// from the old ones, which are empty, and the sorted lines; its commit point is the import's. Otherwise they go
// through the queues like any increments, beside everything else that is counted.
//
// An import is known by the digest of its lines. A direct one is named in the cluster file: from its first step
// (`importing`) until its commit (`imports`, kept). Through the queues the digest is the idempotency key of every sum,
// so what was counted before a crash is recognised for as long as idempotency keys are kept.

import RedisQueue
public import ServiceKit
import ShardConsumer
import ShardStore
import TallyCore

/// Brings sorted lines into a cluster.
public struct Import {
    /// How the lines come in.
    public enum Way: Hashable, Sendable {
        /// As new shards, by a change of epoch.
        case direct
        case queues
        /// They are in already.
        case done
        /// A direct import of the same lines was interrupted.
        case resume
    }

    /// Increments that are handed to the queues at a time.
    private static let chunkIncrements = 4_000

    private let folder: DataFolder
    private let runs: SortedRuns
    /// What the import is known by.
    private let id: Bytes16

    /// - Parameter again: a name under which lines that are in already count once more; nil for the first time.
    public init(_ runs: SortedRuns, into folder: DataFolder, again: String? = nil) {
        self.runs = runs
        self.folder = folder
        let digest = runs.digest.bytes
        id =
            again.map { name in
                let bytes = digest.array + Array(name.utf8)
                return Bytes16(high: XXH64.hash(bytes, seed: 1), low: XXH64.hash(bytes, seed: 2))
            } ?? digest
    }

    /// Which way is open. The caller holds the cluster's lock.
    ///
    /// - Throws: 78 while another change of epoch is unfinished; whatever is wrong with a shard.
    public func way(throughQueues: Bool) throws(Failure) -> Way {
        let file = try folder.clusterFile()
        if file.imports.contains(id) { return .done }
        if file.state == .building, file.importing == id { return .resume }
        let topology = try folder.readyClusterFile().topology
        if throughQueues { return .queues }
        for partition in topology.partitionIDs {
            let location = folder.shard(partition.number, of: topology)
            let keys = try onStore { () throws(StoreError) in
                try ShardReader(at: location.path, expecting: location.expected).statistics().keys
            }
            if keys > 0 { return .queues }
        }
        return .direct
    }

    /// What a change of epoch takes in.
    public var source: EpochBuild.Import {
        let runs = runs
        return EpochBuild.Import(id: id, amounts: runs.amounts) { partition throws(Failure) in
            try runs.source(of: partition)
        }
    }

    /// Delivers all lines through the queues, and returns when they are stored.
    ///
    /// - Parameter progress: sums handed over so far.
    /// - Throws: as `Courier.deliver`.
    public func deliver(over access: RedisAccess, progress: (Int) -> Void) throws(Failure) {
        let courier = Courier(access)
        var buffer = IncrementBuffer()
        var handedOver = 0
        for partition in runs.amounts.indices {
            let source = try runs.source(of: partition)
            var key: [UInt8] = []
            var occurrence = 1
            while try source.next() {
                // A key comes again if its sum does not fit one entry; one idempotency key counts it once.
                occurrence = source.key.elementsEqual(key) ? occurrence + 1 : 1
                key = Array(source.key)
                if occurrence > 1 { try hand(&buffer, to: courier, occurrence - 1) }
                let problem = buffer.append(key: source.key, delta: source.value)
                precondition(problem == nil, "a line with a key that is none was sorted")
                handedOver += 1
                if occurrence > 1 || buffer.count >= Self.chunkIncrements {
                    try hand(&buffer, to: courier, occurrence)
                    progress(handedOver)
                }
            }
            try hand(&buffer, to: courier, 1)
        }
        try courier.settle()
        progress(handedOver)
    }

    private func hand(_ buffer: inout IncrementBuffer, to courier: Courier, _ occurrence: Int) throws(Failure) {
        if buffer.isEmpty { return }
        let name = occurrence == 1 ? "import:\(id)" : "import:\(id):\(occurrence)"
        _ = try courier.deliver(buffer, idempotencyKey: Array(name.utf8))  // `settle` waits for all
        buffer.removeAll()
    }
}
