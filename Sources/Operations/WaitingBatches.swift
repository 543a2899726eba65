// How much waits for a consumer, in the words of somebody who ends a cluster: the lists of the current epoch and, while
// a rebalance makes it, those of the epoch before, which that rebalance drains.

import RedisQueue
public import ServiceKit
import TallyCore

public enum WaitingBatches {
    /// Batches that no consumer has counted yet.
    ///
    /// - Throws: 69 if Redis is unreachable, 78 if it is not fit or there is no cluster.
    public static func count(_ folder: DataFolder, _ access: RedisAccess) throws(Failure) -> Int {
        let file = try folder.clusterFile()
        let draining = file.isUnfinished ? file.earlier.last?.partitionIDs ?? [] : []
        let keys = ClusterKeys(connection: try access.connect(waitingMilliseconds: 0), names: access.names)
        return try onRedis { () throws(RedisError) in
            var batches = 0
            for partition in file.topology.partitionIDs + draining {
                // Without keys there is no list: repair, or the rebalance, makes them.
                if case .group(let group) = try keys.inspect(partition) { batches += group.length }
            }
            return batches
        }
    }
}
