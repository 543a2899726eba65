// What only the rest of the product can do for a cluster that is started and stopped: this target knows processes,
// and neither Redis commands nor shards.

public import ServiceKit

/// What the cluster file says at a moment. It changes while a cluster runs: a rebalance makes another epoch.
public struct ClusterState: Hashable, Sendable {
    public let epoch: UInt32
    /// K of that epoch.
    public let partitions: Int
    /// Whether the shards of that epoch are still being made: nobody can consume it.
    public let isBuilding: Bool

    public init(epoch: UInt32, partitions: Int, isBuilding: Bool) {
        self.epoch = epoch
        self.partitions = partitions
        self.isBuilding = isBuilding
    }
}

/// Called on the main thread, between two looks at the processes: none may take longer than some seconds, and
/// `waitingBatches` and `state` not longer than one.
public struct ClusterHooks {
    /// Redis answers: make the cluster, or find it as it was.
    public var initialise: () throws(Failure) -> Void
    /// What the cluster file says now. After `initialise`.
    public var state: () throws(Failure) -> ClusterState
    /// The consumers of an epoch that is not being built, in the order in which they are started.
    public var consumers: (ClusterState) throws(Failure) -> [Role]
    /// The web node, started after them.
    public var web: () throws(Failure) -> Role
    /// Batches that no consumer has counted yet, in all queues.
    public var waitingBatches: () throws(Failure) -> Int
    /// The line that is printed at the end, after the consumers.
    public var total: () throws(Failure) -> String
    /// What is printed when everything works; gets the web node's address, such as http://127.0.0.1:3333.
    public var readyText: (String, ClusterState) -> String
    /// Of an epoch that is being built: that it is unfinished, and what goes on with it. One line.
    public var unfinishedText: (ClusterState) -> String

    public init(
        initialise: @escaping () throws(Failure) -> Void, state: @escaping () throws(Failure) -> ClusterState,
        consumers: @escaping (ClusterState) throws(Failure) -> [Role], web: @escaping () throws(Failure) -> Role,
        waitingBatches: @escaping () throws(Failure) -> Int, total: @escaping () throws(Failure) -> String,
        readyText: @escaping (String, ClusterState) -> String, unfinishedText: @escaping (ClusterState) -> String
    ) {
        self.initialise = initialise
        self.state = state
        self.consumers = consumers
        self.web = web
        self.waitingBatches = waitingBatches
        self.total = total
        self.readyText = readyText
        self.unfinishedText = unfinishedText
    }
}
