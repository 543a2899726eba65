// The keys that are in more than one shard: a merge of all shards, in which such keys come one after the other.

import ShardStore
import TallyCore

enum DoubledKeys {
    /// Calls `body` with each key that is in several shards, and in which, in ascending order.
    ///
    /// - Parameter shards: partition and counters, not moved yet.
    static func forEach(
        in shards: [(number: UInt32, counters: CounterCursor)], _ body: ([UInt8], [UInt32]) -> Void
    ) throws(StoreError) {
        var numbers: [ObjectIdentifier: UInt32] = [:]
        for shard in shards { numbers[ObjectIdentifier(shard.counters)] = shard.number }
        var merge = try ShardMerge(shards.map(\.counters))
        var key: [UInt8] = []
        var places: [UInt32] = []
        while let cursor = merge.current {
            guard let number = numbers[ObjectIdentifier(cursor)] else { preconditionFailure("an unknown cursor") }
            if places.isEmpty || key.withUnsafeBytes({ Bytes.compare($0, cursor.key) }) != 0 {
                if places.count > 1 { body(key, places.sorted()) }
                key.removeAll(keepingCapacity: true)
                key.append(contentsOf: cursor.key)
                places.removeAll(keepingCapacity: true)
            }
            places.append(number)
            try merge.advance()
        }
        if places.count > 1 { body(key, places.sorted()) }
    }
}
