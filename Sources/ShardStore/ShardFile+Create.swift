// An empty shard file, such as those of a new cluster. ShardBuilder makes the full ones.

extension ShardFile {
    /// Creates an empty shard at `path`, whose folder must exist.
    ///
    /// - Parameters:
    ///   - start: what counters will be loaded into the file before its first batch; without them its ledger does not
    ///     balance.
    ///   - timeMilliseconds: now, in ms since 1970.
    /// - Throws: `exists`; `locked`; `missing` if the folder is; `full`, `permission`, `io`.
    public static func create(
        at path: String, identity: ShardIdentity, start: ShardStart = .nothing, timeMilliseconds: UInt64
    ) throws(StoreError) {
        let shard = try UnfinishedShard(path)
        try fill(shard.unfinishedPath, identity, start, timeMilliseconds)
        try shard.publish(identity)
    }

    private static func fill(
        _ path: String, _ identity: ShardIdentity, _ start: ShardStart, _ time: UInt64
    ) throws(StoreError) {
        let connection = try SQLiteConnection(path, .readWrite)
        try ShardSchema.install(on: connection, identity: identity, start: start, timeMilliseconds: time)
        try connection.beginLogging()
    }
}
