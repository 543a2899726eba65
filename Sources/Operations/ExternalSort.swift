// Sorts more lines than fit into memory, by partition and key: what an import does before it builds shards.
//
//   thread of the caller   add: hash the key, append to a chunk ──full──> ┐        finish
//   thread "sort"                                  <──empty── sort it, write a run file
//
// Two chunks go back and forth, so both cores work and the memory is bounded, however large the import is. The result
// is a merge of the runs for each partition (SortedRuns).

import Dispatch
public import ServiceKit
public import TallyCore

/// Takes lines in any order. Owned by one thread.
public final class ExternalSort {
    /// Memory for chunks unless said otherwise.
    public static let memoryBytes = 224 << 20

    private let partitioner: Partitioner
    private let sorter: Sorter
    private let thread: ServiceThread
    private var chunk: SortChunk
    private var isFinished = false

    /// - Parameters:
    ///   - folder: where the runs lie; the files in it have no names.
    ///   - memoryBytes: for all chunks; the fewer, the more runs.
    public init(_ partitioner: Partitioner, folder: String, memoryBytes: Int = ExternalSort.memoryBytes) {
        self.partitioner = partitioner
        // Two chunks, and the entries of one again while it is being sorted.
        let bytes = memoryBytes * 2 / 5
        chunk = SortChunk(bytes: bytes)
        let sorter = Sorter(
            partitions: partitioner.partitions, folder: folder, spare: SortChunk(bytes: bytes))
        self.sorter = sorter
        thread = ServiceThread(name: "sort") { sorter.run() }
    }

    deinit {
        if !isFinished { stop() }
    }

    /// Adds one line.
    ///
    /// - Parameter key: a valid key.
    /// - Throws: 74 if an earlier chunk could not be written.
    @inline(__always)
    public func add(_ key: UnsafeRawBufferPointer, _ value: Int64) throws(Failure) {
        let hash = XXH64.hash(key)
        let partition = partitioner.partition(ofHash: hash)
        if chunk.append(key, value, hash: hash, partition: partition) { return }
        try exchange()
        let fits = chunk.append(key, value, hash: hash, partition: partition)
        precondition(fits, "a chunk has room for one line")
    }

    /// Sorts the rest. Nothing can be added any more.
    ///
    /// - Throws: 74.
    public func finish() throws(Failure) -> SortedRuns {
        precondition(!isFinished, "a sort is finished once")
        try exchange()
        stop()
        return try sorter.result.get()
    }

    /// Gives the chunk to the sorter and takes an empty one.
    private func exchange() throws(Failure) {
        sorter.full.send(chunk)
        switch sorter.empty.receive() {
        case .success(let empty): chunk = empty
        case .failure(let failure): throw failure
        }
    }

    private func stop() {
        isFinished = true
        sorter.full.send(nil)
        thread.join()
    }
}

/// The other thread. Its variables are touched by that thread while it runs, and by the owner of the sort after it has
/// joined it: never by both.
private final class Sorter: @unchecked Sendable {
    let full = Mailbox<SortChunk?>()
    let empty = Mailbox<Result<SortChunk, Failure>>()
    private(set) var result: Result<SortedRuns, Failure>
    private let partitions: Int
    private let folder: String
    private var scratch: UnsafeMutablePointer<SortEntry>
    private var runs: [RunFile] = []
    private var amounts: [Amount]
    private var digest = ImportDigest()

    init(partitions: Int, folder: String, spare: SortChunk) {
        self.partitions = partitions
        self.folder = folder
        amounts = Array(repeating: .zero, count: partitions)
        scratch = .allocate(capacity: spare.entryCapacity)
        result = .failure(Failure(.failure, "the lines are not sorted yet"))
        empty.send(.success(spare))
    }

    deinit { scratch.deallocate() }

    /// Sorts chunks until nil comes. After a failure no chunk is sorted any more.
    func run() {
        var failure: Failure?
        while let chunk = full.receive() {
            do throws(Failure) {
                if let failure { throw failure }
                try sort(chunk)
                empty.send(.success(chunk))
            } catch {
                failure = error
                empty.send(.failure(error))
            }
        }
        result =
            failure.map { .failure($0) } ?? .success(SortedRuns(runs, amounts: amounts, digest: digest))
    }

    private func sort(_ chunk: SortChunk) throws(Failure) {
        if chunk.count > 0 {
            let starts = chunk.sort(partitions: partitions, scratch: &scratch)
            runs.append(
                try RunFile(chunk, starts: starts, amounts: &amounts, folder: folder, number: runs.count))
            digest.add(chunk.digest)
        }
        chunk.removeAll()
    }
}
