// A loop of the load on a thread of its own, and its figures when it has ended.

import ServiceKit
import Synchronization

/// A started thread of the load; its conductor joins it.
final class LoadThread {
    let progress: LoadProgress
    private let outcome: Outcome
    private let thread: ServiceThread

    private final class Outcome: Sendable {
        let result = Mutex<Result<Tally, Failure>?>(nil)
    }

    /// - Parameters:
    ///   - connections: of this thread.
    ///   - stream: threads of one run differ in it.
    init(_ plan: LoadPlan, _ schedule: Schedule, address: ServerAddress, connections: Int, stream: Int) {
        let progress = LoadProgress()
        let outcome = Outcome()
        thread = ServiceThread(name: "load-\(stream)") {
            let result = Result { () throws(Failure) in
                try LoadLoop(
                    plan, schedule, address: address, connections: connections, stream: stream, progress: progress
                ).run()
            }
            outcome.result.withLock { $0 = result }
            progress.finished()
        }
        self.progress = progress
        self.outcome = outcome
    }

    /// Waits for its end; once.
    func join() -> Result<Tally, Failure> {
        thread.join()
        guard let result = outcome.result.withLock({ $0 }) else { preconditionFailure("a thread without a result") }
        return result
    }
}
