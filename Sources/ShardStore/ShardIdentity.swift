// Which shard a file is. It is checked field by field, so that a wrong file is refused with the reason.

public import TallyCore

/// The identity in a shard file's `meta`.
public struct ShardIdentity: Hashable, Sendable {
    public let cluster: ClusterID
    public let partition: PartitionID
    /// K of the epoch.
    public let partitions: Int
    public let uuid: ShardUUID

    public init(cluster: ClusterID, partition: PartitionID, partitions: Int, uuid: ShardUUID) {
        self.cluster = cluster
        self.partition = partition
        self.partitions = partitions
        self.uuid = uuid
    }

    /// Reads and checks what every shard must have, whichever it is.
    init(_ connection: SQLiteConnection) throws(StoreError) {
        let path = connection.path
        try Self.expect("application id", Self.pragma("application_id", connection), ShardSchema.applicationID, path)
        try Self.expect("schema version", Self.pragma("user_version", connection), ShardSchema.version, path)
        let meta = try Meta(connection)
        let hash = try meta.text(.hash)
        guard hash == ShardSchema.hash else {
            throw .mismatch(path: path, field: "hash", found: hash, expected: ShardSchema.hash)
        }
        guard let cluster = ClusterID(try meta.text(.cluster)), let uuid = ShardUUID(try meta.text(.shard)),
            let epoch = UInt32(try meta.text(.epoch)), let number = UInt32(try meta.text(.partition)),
            let partitions = Int(try meta.text(.partitions))
        else { throw .corrupt(path: path, detail: "its identity does not decode") }
        self.init(
            cluster: cluster, partition: PartitionID(epoch: epoch, number: number), partitions: partitions, uuid: uuid)
    }

    /// - Throws: `StoreError.mismatch` naming the first field that differs.
    public func expect(
        cluster: ClusterID, partition: PartitionID, partitions: Int, path: String
    ) throws(StoreError) {
        try Self.expect("cluster", self.cluster, cluster, path)
        try Self.expect("epoch", self.partition.epoch, partition.epoch, path)
        try Self.expect("partition", self.partition.number, partition.number, path)
        try Self.expect("a total of partitions of", self.partitions, partitions, path)
    }

    private static func expect<Value: Equatable>(
        _ field: String, _ found: Value, _ expected: Value, _ path: String
    ) throws(StoreError) {
        guard found == expected else {
            throw .mismatch(path: path, field: field, found: "\(found)", expected: "\(expected)")
        }
    }

    private static func pragma(_ name: String, _ connection: SQLiteConnection) throws(StoreError) -> Int64 {
        let statement = try connection.prepare("PRAGMA \(name)")
        defer { statement.reset() }
        return try statement.step() ? statement.integer(0) : 0
    }
}

/// The table `meta`.
struct Meta {
    private let connection: SQLiteConnection
    private let select: SQLiteStatement
    private let replace: SQLiteStatement

    init(_ connection: SQLiteConnection) throws(StoreError) {
        self.connection = connection
        select = try connection.prepare("SELECT value FROM meta WHERE name = ?1")
        replace = try connection.prepare("INSERT OR REPLACE INTO meta(name, value) VALUES (?1, ?2)")
    }

    func optionalText(_ name: MetaName) throws(StoreError) -> String? {
        select.bind(name.rawValue, at: 1)
        defer { select.reset() }
        return try select.step() ? select.text(0) : nil
    }

    func text(_ name: MetaName) throws(StoreError) -> String {
        guard let text = try optionalText(name) else {
            throw .corrupt(path: connection.path, detail: "meta has no \(name.rawValue)")
        }
        return text
    }

    func set(_ name: MetaName, _ value: String) throws(StoreError) {
        replace.bind(name.rawValue, at: 1)
        replace.bind(value, at: 2)
        try replace.run()
    }
}
