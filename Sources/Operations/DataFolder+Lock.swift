// One tool at a time changes a cluster. Roles need no such lock: exactness rests on the shards' transactions.

public import ServiceKit

extension DataFolder {
    /// The right to change the cluster, held until the object ends.
    ///
    /// - Throws: 75 if another tool has it, with its process number.
    public func lockCluster() throws(Failure) -> FileLock {
        switch try FileLock.attempt(clusterLockPath) {
        case .acquired(let lock): return lock
        case .held(let holder):
            throw Failure(
                .locked, "another tool\(holder.map { ", process \($0)," } ?? "") is changing this cluster",
                at: clusterLockPath, advice: "Wait for it to end, then run this again.")
        }
    }
}
