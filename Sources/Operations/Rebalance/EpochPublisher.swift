// While old queues are drained and new shards are made, which may take minutes, Redis may go back in time and forget
// the key groups of the new epoch; nodes would have nowhere to push to until the change is done. So they are created
// and published again, now and then. Harmless at any time: create only creates, and the topology is never lowered.

import RedisQueue
import ServiceKit
import ShardConsumer
import TallyCore

/// Publishes an epoch that is being made, on a thread of its own, until `end`.
final class EpochPublisher: Sendable {
    static let intervalMilliseconds: UInt64 = 2_000

    private let orders: Mailbox<Void>
    private let thread: ServiceThread

    init(
        _ file: ClusterFile, in folder: DataFolder, _ access: RedisAccess,
        intervalMilliseconds: UInt64 = intervalMilliseconds
    ) {
        let orders = Mailbox<Void>()
        self.orders = orders
        thread = ServiceThread(name: "publisher") {
            while orders.receive(waitingMilliseconds: intervalMilliseconds) == nil {
                do throws(Failure) {
                    try Self.publish(file, folder, access)
                } catch {
                    // Redis is away, or refuses: the change itself waits for it, or says so.
                    continue
                }
            }
        }
    }

    /// Waits until nothing is published any more; once.
    func end() {
        orders.send(())
        thread.join()
    }

    private static func publish(
        _ file: ClusterFile, _ folder: DataFolder, _ access: RedisAccess
    ) throws(Failure) {
        let topology = file.topology
        let keys = ClusterKeys(connection: try access.connect(waitingMilliseconds: 0), names: access.names)
        for partition in topology.partitionIDs {
            let uuid = file.derivedShard(of: partition)
            let watermarks = try folder.watermarksIfHere(partition, of: file)
            try onRedis { () throws(RedisError) in
                // Whether it was there does not matter here.
                _ = try keys.create(partition, shard: uuid, topology: topology, applied: watermarks)
            }
        }
        // Nor does a newer one: the change itself notices.
        _ = try onRedis { () throws(RedisError) in try keys.publish(topology) }
    }
}
