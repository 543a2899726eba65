// Whose counts a file holds. A shard that is sound but belongs elsewhere is as dangerous as a broken one: every field
// is compared before the first byte is written, and a difference names the field, both values and what to do.

public import TallyCore

/// What a shard file says about itself.
public struct ShardIdentity: Hashable, Sendable {
    public let cluster: ClusterID
    public let partition: PartitionID
    /// K of the partition's epoch.
    public let partitions: Int
    /// Tells this file from every other that was ever made for the same partition.
    public let uuid: ShardUUID

    public init(cluster: ClusterID, partition: PartitionID, partitions: Int, uuid: ShardUUID) {
        precondition((1...Limits.partitionsMax).contains(partitions) && partition.number < partitions)
        self.cluster = cluster
        self.partition = partition
        self.partitions = partitions
        self.uuid = uuid
    }

    /// Of the partition's epoch.
    public var topology: Topology { Topology(cluster: cluster, epoch: partition.epoch, partitions: partitions) }
}

/// What a shard file has to be.
public struct ShardExpectation: Hashable, Sendable {
    public let cluster: ClusterID
    public let partition: PartitionID
    public let partitions: Int
    /// nil if any will do: the caller compares it with the key group's `shard`.
    public let uuid: ShardUUID?

    public init(cluster: ClusterID, partition: PartitionID, partitions: Int, uuid: ShardUUID? = nil) {
        self.cluster = cluster
        self.partition = partition
        self.partitions = partitions
        self.uuid = uuid
    }
}

extension ShardIdentity {
    /// Reads the identity behind a connection, after making sure that it is a shard that this release understands.
    static func read(_ connection: SQLiteConnection) throws(StoreError) -> ShardIdentity {
        func different(_ field: String, _ found: Int64, _ expected: Int64, _ remedy: String) -> StoreError {
            .mismatch(connection.path, field, found: "\(found)", expected: "\(expected)", remedy)
        }
        if SystemFile.bytes(connection.path) == 0 {
            throw StoreError(.corrupt, connection.path, "the file is empty", StoreError.Remedy.corrupt)
        }
        let application = try connection.integer("PRAGMA application_id") ?? 0
        if application != ShardSchema.applicationID {
            throw different(
                "application_id", application, ShardSchema.applicationID,
                "this is not a Tallymill shard: check the path")
        }
        let version = try ShardSchema.version(of: connection)
        if !ShardSchema.versions.contains(version) {
            let remedy = version > ShardSchema.version ? "upgrade tallymill" : "use the release that made the file"
            throw different("format version", version, ShardSchema.version, remedy)
        }
        let meta = try MetaTable(connection)
        let hash = try meta.text(.hash)
        if hash != ShardSchema.hashVersion {
            throw .mismatch(
                connection.path, "hash version", found: hash, expected: ShardSchema.hashVersion,
                "use the release that made the file")
        }
        let number: UInt32 = try meta.number(.partition)
        let partitions: Int = try meta.number(.partitions)
        guard (1...Limits.partitionsMax).contains(partitions), number < partitions else {
            throw StoreError(
                .corrupt, connection.path, "its table meta says partition \(number) of \(partitions)",
                StoreError.Remedy.corrupt)
        }
        return ShardIdentity(
            cluster: try meta.id(.cluster) { ClusterID($0) },
            partition: PartitionID(epoch: try meta.number(.epoch), number: number), partitions: partitions,
            uuid: try meta.id(.uuid) { ShardUUID($0) })
    }

    /// - Throws: `mismatch` for the first field that differs.
    func verify(_ expected: ShardExpectation, path: String) throws(StoreError) {
        let folder = "check the data folder: each file belongs where its name says"
        let fields: [(name: String, found: String, expected: String, remedy: String)] = [
            ("cluster", "\(cluster)", "\(expected.cluster)", "the file is of another cluster: check the data folder"),
            ("epoch", "\(partition.epoch)", "\(expected.partition.epoch)", folder),
            ("partition", "\(partition.number)", "\(expected.partition.number)", folder),
            ("partitions", "\(partitions)", "\(expected.partitions)", folder),
            (
                "uuid", "\(uuid)", "\(expected.uuid ?? uuid)",
                "another copy of this shard is in use: put that one back, or run repair if this one is to stay"
            ),
        ]
        for field in fields where field.found != field.expected {
            throw .mismatch(path, field.name, found: field.found, expected: field.expected, field.remedy)
        }
    }
}

extension StoreError {
    static func mismatch(
        _ path: String, _ field: String, found: String, expected: String, _ remedy: String
    ) -> StoreError {
        StoreError(.mismatch, path, "its \(field) is \(found), expected \(expected)", remedy)
    }
}
