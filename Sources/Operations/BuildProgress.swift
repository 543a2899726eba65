// How far a build is, told from all of its threads, and the two reasons to give it up: somebody asks for it, or another
// thread has failed.

import ServiceKit
import ShardConsumer
import Synchronization

/// Rows done of all rows, whatever is done to them.
final class BuildProgress: Sendable {
    private let done = Atomic<Int>(0)
    private let total: Int
    private let stop: StopRequest
    private let report: @Sendable (_ done: Int, _ total: Int) -> Void

    init(total: Int, stop: StopRequest, report: @escaping @Sendable (_ done: Int, _ total: Int) -> Void) {
        self.total = total
        self.stop = stop
        self.report = report
    }

    /// - Throws: exit code 1 if the build is to end.
    fileprivate func add(_ rows: Int, _ state: WorkState) throws(Failure) {
        let sum = done.wrappingAdd(rows, ordering: .relaxed).newValue
        if stop.isSet || state.failure != nil {
            throw Failure(
                .failure, "stopped before the new shards were complete",
                advice: "Resume: the shards are made again from the old ones.")
        }
        report(min(sum, total), total)
    }
}

/// One thread's part of it: counts rows and tells about them now and then.
struct ProgressSteps {
    private static let stepRows = 16_384

    private let progress: BuildProgress
    private let state: WorkState
    private var rows = 0

    /// - Parameter state: says whether another thread has failed.
    init(_ progress: BuildProgress, _ state: WorkState) {
        self.progress = progress
        self.state = state
    }

    mutating func countRow() throws(Failure) {
        rows += 1
        if rows == Self.stepRows { try tell() }
    }

    mutating func tell() throws(Failure) {
        try progress.add(rows, state)
        rows = 0
    }
}
