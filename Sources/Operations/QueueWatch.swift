// Whether the consumers of some partitions do anything: who holds the leases, and whether the lists move at their
// heads. A list that grows says nothing: nodes push whether somebody consumes or not.

import RedisQueue
import TallyCore

/// Repeated looks at the heads of queues. Owned by one thread.
final class QueueWatch {
    /// What a look has seen.
    struct Seen {
        /// Whether the head of any of the lists is another than at the look before.
        var hasMoved = false
        /// Partitions whose lease nobody holds.
        var unattended: [PartitionID] = []
    }

    private let access: RedisAccess
    private var keys: ClusterKeys?
    private var heads: [PartitionID: ArraySlice<UInt8>] = [:]
    /// Who held the leases at the last look.
    private(set) var owners: [(partition: PartitionID, owner: String)] = []

    init(_ access: RedisAccess) {
        self.access = access
    }

    /// Looks at the queues of `partitions`. A Redis that does not answer shows nothing: whoever waits has a connection
    /// of its own, which tells about that.
    func look(_ partitions: [PartitionID]) -> Seen {
        var seen = Seen()
        owners = []
        do throws(RedisError) {
            let keys = try connected()
            for partition in partitions {
                guard case .group(let group) = try keys.inspect(partition) else { continue }
                let head = group.head.prefix(BatchFormat.identityRange.upperBound)
                if let before = heads.updateValue(head, forKey: partition), before != head { seen.hasMoved = true }
                if let lease = group.lease, lease.isLive {
                    owners.append((partition, lease.owner))
                } else {
                    seen.unattended.append(partition)
                }
            }
        } catch {
            return Seen()
        }
        return seen
    }

    private func connected() throws(RedisError) -> ClusterKeys {
        if let keys, try keys.leadOn() { return keys }
        let made = try ClusterKeys(toLookWith: access)
        keys = made
        return made
    }
}
