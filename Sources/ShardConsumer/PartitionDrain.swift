// What a rebalance does with an old partition: everything that lies in its queue goes into its file, by the consumer's
// own code, until the queue is sealed and empty; then the file is closed for ever.

public import Logging
import RedisQueue
public import ServiceKit
import ShardStore
import TallyCore

/// Empties one partition's queue into its shard, and retires the shard.
public struct PartitionDrain {
    /// How long a queue that cannot be drained is waited for: longer than the lease of a consumer that was killed.
    public static let patienceMilliseconds: UInt64 = 60_000

    private let configuration: ShardConsumer.Configuration
    private let logger: Logger

    public init(_ configuration: ShardConsumer.Configuration, logger: Logger) {
        self.configuration = configuration
        // Who drains tells it in another way than a role that runs for months.
        var logger = logger
        logger.logLevel = max(logger.logLevel, .warning)
        self.logger = logger
    }

    /// Drains `shard`; a file that is retired already is left alone.
    ///
    /// - Parameters:
    ///   - stopRequest: ends it between two steps; the file is not retired then.
    ///   - onPeek: gets the length of the queue after each look at it.
    /// - Returns: false if it was stopped before the end.
    /// - Throws: 75 if a consumer holds the file or the lease; 69 if Redis stays away; 65 for an alarm, 74, 78.
    public func run(
        _ shard: ShardLocation, stopRequest: StopRequest, onPeek: @escaping (Int) -> Void
    ) throws(Failure) -> Bool {
        let file = try shard.open()
        if try onStore({ () throws(StoreError) in try file.isRetired() }) { return true }
        let consumer = PartitionConsumer(
            configuration: configuration, file: file, purpose: .drain, stopRequest: stopRequest,
            progress: PartitionProgress(shard.partition), logger: logger)
        consumer.patienceMilliseconds = Self.patienceMilliseconds
        consumer.onPeek = onPeek
        try consumer.run()
        if stopRequest.isSet { return false }
        try onStore { () throws(StoreError) in try file.retire() }
        return true
    }
}
