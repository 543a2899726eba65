// A web node that has seen a newer epoch than the cluster has: the folder and Redis were put back to before it, and the
// node lived on. It pushes to that epoch only, so it waits; a change of epoch opens one above it, and it moves there
// with everything that it holds.

import RedisQueue
import ServiceKit
import TallyCore

/// The newest epoch that a web node has told of and that is not the cluster's.
struct NotedEpoch {
    /// 0 if none had to tell.
    let epoch: UInt32
    private let partitions: Int
    private let topology: Topology

    init(_ topology: Topology, _ keys: ClusterKeys) throws(Failure) {
        self.topology = topology
        let noted = try onRedis { () throws(RedisError) in try keys.notedEpochs(of: topology.cluster) }
        // The cluster's own was noted while Redis was from before it, and knows it again.
        let newest = noted.filter { $0 != topology }.max { $0.epoch < $1.epoch }
        epoch = newest?.epoch ?? 0
        partitions = newest?.partitions ?? 0
        var next = max(epoch, topology.epoch) + 1
        // A change that was killed has made its first keys, and the folder was put back to before it.
        while case .group = try onRedis({ () throws(RedisError) in
            try keys.inspect(PartitionID(epoch: next, number: 0))
        }) { next += 1 }
        self.next = next
    }

    /// Whether a node waits for an epoch above it.
    var isAwaited: Bool { epoch >= topology.epoch }

    /// Of the next change: one that nobody has seen, and that has no keys.
    let next: UInt32

    private var what: String {
        "a web node has seen epoch \(epoch) with \(partitions == 1 ? "1 partition" : "\(partitions) partitions"), and "
            + "this is epoch \(topology.epoch) with \(topology.partitions): folder and Redis were put back to before "
            + "it, and the node waits"
    }

    private var advice: String {
        "`tallymill rebalance run --to \(topology.partitions)` opens an epoch above it: the node goes on there, with "
            + "all that it holds."
    }

    /// For `verify`.
    func finding(at key: String) -> Finding { Finding(nil, key, what, advice) }

    /// At the end of a repair.
    func failure(at key: String) -> Failure { Failure(.partial, what, at: key, advice: advice) }
}
