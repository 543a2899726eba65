// The open batch of one partition: what has been admitted and not yet been frozen.
//
// Plain increments are summed by key. Increments under an idempotency key are not summed with others, because a shard
// decides about each (idempotency key, key) on its own; they are kept as one group a request.

/// Collects the increments of one producer for one partition.
struct Aggregator {
    private(set) var table = KeyTable()
    private(set) var groups: [Group] = []
    private var groupBytes = 0

    /// The increments of one request with an idempotency key, summed by key.
    struct Group {
        let idempotencyKey: [UInt8]
        fileprivate(set) var sums = KeyTable()
    }

    var isEmpty: Bool { table.isEmpty && groups.isEmpty }
    /// An upper bound of what this occupies in batches.
    var encodedBytes: Int { table.encodedBytes + groupBytes }

    /// Entries that a batch of this would have.
    var entryCount: Int { groups.reduce(table.count) { $0 + $1.sums.count } }

    mutating func add(_ key: UnsafeRawBufferPointer, hash: UInt64, delta: Int64, increments: UInt64 = 1) {
        table.add(key, hash: hash, delta: delta, increments: increments)
    }

    /// Starts the group that the following `addToGroup` calls fill.
    mutating func beginGroup(_ idempotencyKey: [UInt8]) {
        groups.append(Group(idempotencyKey: idempotencyKey))
        groupBytes += BatchFormat.groupOverheadMax
    }

    mutating func addToGroup(_ key: UnsafeRawBufferPointer, hash: UInt64, delta: Int64, increments: UInt64 = 1) {
        let last = groups.count - 1
        let before = groups[last].sums.encodedBytes
        groups[last].sums.add(key, hash: hash, delta: delta, increments: increments)
        groupBytes += groups[last].sums.encodedBytes - before
    }

    /// Hands everything to `writer` and is empty afterwards.
    mutating func write(to writer: inout BatchWriter) {
        for entry in table.entries {
            table.withKey(of: entry) { writer.append(key: $0, increments: entry.increments, sum: entry.sum) }
        }
        for group in groups {
            writer.beginGroup(group.idempotencyKey)
            for entry in group.sums.entries {
                group.sums.withKey(of: entry) {
                    writer.append(key: $0, increments: entry.increments, sum: entry.sum)
                }
            }
        }
        table.removeAll()
        groups.removeAll()
        groupBytes = 0
    }
}
