// Where a shard is and what it must be; opening it takes its lock.

public import ServiceKit
public import ShardStore
public import TallyCore

/// A shard file that is expected at a path.
public struct ShardLocation: Hashable, Sendable {
    public let path: String
    public let cluster: ClusterID
    public let partition: PartitionID
    /// K of the partition's epoch.
    public let partitions: Int

    public init(path: String, cluster: ClusterID, partition: PartitionID, partitions: Int) {
        self.path = path
        self.cluster = cluster
        self.partition = partition
        self.partitions = partitions
    }

    /// A shard opened for writing, for as long as the lock lives.
    public struct Open {
        public let file: ShardFile
        let lock: FileLock
    }

    /// - Throws: 75 with the holder's process number, 78 if it is another shard, 65 if it is corrupt, 74.
    public func open() throws(Failure) -> Open {
        switch try FileLock.attempt("\(path).lock") {
        case .held(let pid):
            throw Failure(
                .locked, "the shard is held by \(pid.map { "process \($0)" } ?? "another process")", at: path,
                advice: "One consumer owns a shard: stop the other one first.")
        case .acquired(let lock):
            do throws(StoreError) {
                let file = try ShardFile.open(
                    at: path, cluster: cluster, partition: partition, partitions: partitions)
                return Open(file: file, lock: lock)
            } catch {
                throw Failure(error)
            }
        }
    }
}

extension Failure {
    /// A failing shard file, with the exit code that belongs to it.
    public init(_ error: StoreError) {
        let code: ExitCode =
            switch error {
            case .missing, .mismatch: .configuration
            case .corrupt: .corrupt
            case .busy: .locked
            case .full, .denied, .io: .ioError
            case .other: .failure
            }
        self.init(code, error.description, at: error.path, advice: error.advice)
    }
}
