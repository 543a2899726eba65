// Where a shard is and what it must be.

public import ServiceKit
public import ShardStore
public import TallyCore

/// A shard file that is expected at a path.
public struct ShardLocation: Hashable, Sendable {
    public let path: String
    public let expected: ShardExpectation

    public init(path: String, expected: ShardExpectation) {
        self.path = path
        self.expected = expected
    }

    public var partition: PartitionID { expected.partition }

    /// Opens it for writing and takes its lock.
    ///
    /// - Throws: 75 with the holder's process number, 78 if it is another shard, 65 if it is corrupt, 74.
    public func open() throws(Failure) -> ShardFile {
        try onStore { () throws(StoreError) in try ShardFile.open(at: path, expecting: expected) }
    }
}

/// Does something with a shard file; what fails carries the exit code that belongs to it.
public func onStore<Value>(_ body: () throws(StoreError) -> Value) throws(Failure) -> Value {
    do throws(StoreError) {
        return try body()
    } catch {
        throw Failure(error)
    }
}

extension Failure {
    /// A failing shard file, with the exit code that belongs to it.
    init(_ error: StoreError) {
        self.init(ExitCode(rawValue: error.exitCode) ?? .failure, error.cause, at: error.path, advice: error.remedy)
    }
}
