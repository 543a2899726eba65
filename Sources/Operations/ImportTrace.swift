// What a shard shows of an import: nothing, claims of some of its sums, or that it is complete.
//
// Claims come with sums that arrive through the queues. When all of them are stored the import is named in each shard
// instead (ShardUpkeep.note), and the claims are deleted: from then on whatever of it still arrives is a repetition.

import ServiceKit
import ShardConsumer
import ShardStore
import TallyCore

/// What one shard knows of an import.
enum ImportTrace: Hashable, Sendable {
    case none
    /// Some of its sums were counted.
    case claims
    /// Known as complete.
    case named

    /// - Throws: what is wrong with the shard; it must be here.
    init(of id: Bytes16, in location: ShardLocation) throws(Failure) {
        self = try onStore { () throws(StoreError) in
            let reader = try ShardReader(at: location.path, expecting: location.expected)
            if try reader.memory().imports.contains(id) { return .named }
            return try reader.hasClaims(ofImport: id) ? .claims : .none
        }
    }
}
