// What only the rest of the product can do for a cluster that is started and stopped: this target knows processes,
// and neither Redis commands nor shards.

public import ServiceKit

/// Called on the main thread, between two looks at the processes: none may take longer than some seconds, and
/// `waitingBatches` not longer than one.
public struct ClusterHooks {
    /// Redis answers: make the cluster, or find it as it was.
    public var initialise: () throws(Failure) -> Void
    /// After `initialise`: the consumers and the web node, in the order in which they are started.
    public var roles: () throws(Failure) -> [Role]
    /// Batches that no consumer has counted yet, in all queues.
    public var waitingBatches: () throws(Failure) -> Int
    /// The line that is printed at the end, after the consumers.
    public var total: () throws(Failure) -> String
    /// What is printed when everything works; gets the web node's address, such as http://127.0.0.1:3333.
    public var readyText: (String) -> String

    public init(
        initialise: @escaping () throws(Failure) -> Void, roles: @escaping () throws(Failure) -> [Role],
        waitingBatches: @escaping () throws(Failure) -> Int, total: @escaping () throws(Failure) -> String,
        readyText: @escaping (String) -> String
    ) {
        self.initialise = initialise
        self.roles = roles
        self.waitingBatches = waitingBatches
        self.total = total
        self.readyText = readyText
    }
}
