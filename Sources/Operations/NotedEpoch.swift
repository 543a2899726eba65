// A web node that has seen a newer epoch than the cluster has: the folder and Redis were put back to before it, and the
// node lived on. It pushes to that epoch only, so it waits; a change of epoch opens one above it, and it moves there
// with everything that it holds.

import RedisQueue
import ServiceKit
import TallyCore

/// The newest epoch that a web node has told of.
struct NotedEpoch {
    /// 0 if none had to tell.
    let epoch: UInt32
    private let topology: Topology

    init(_ topology: Topology, _ keys: ClusterKeys) throws(Failure) {
        self.topology = topology
        epoch = try onRedis { () throws(RedisError) in try keys.notedEpoch(of: topology.cluster) }
    }

    /// Whether a node waits for an epoch above it.
    var isAwaited: Bool { epoch >= topology.epoch }

    /// Of the next change.
    var next: UInt32 { max(epoch, topology.epoch) + 1 }

    private var what: String {
        "a web node has seen epoch \(epoch), which is \(epoch == topology.epoch ? "another one" : "newer") than epoch "
            + "\(topology.epoch) here: folder and Redis were put back to before it, and the node waits"
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
