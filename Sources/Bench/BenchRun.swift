// A run from its first look at the totals to its last: the conductor of the load's threads, on the main thread.
//
//   totals before -> parked connections, if any -> the load, beside them -> totals after

public import ServiceKit
import TallyCore

/// Conducts one run.
public struct BenchRun {
    private static let pauseMilliseconds = 20

    private let plan: LoadPlan
    private let hooks: BenchHooks
    private let address: ServerAddress
    private var samples = BacklogSamples()
    private var stopRequests = 0

    /// - Throws: 64 for a plan that contradicts itself, 69 if the server's host is unknown.
    public init(_ plan: LoadPlan, hooks: BenchHooks) throws(Failure) {
        try plan.validate()
        self.plan = plan
        self.hooks = hooks
        address = try ServerAddress(plan.endpoint)
    }

    /// Runs it.
    ///
    /// - Throws: 69 if nobody serves, and as the report does if the totals cannot be read.
    public mutating func run() throws(Failure) -> BenchResult {
        let check = try SumCheck(plan, hooks)
        let before = try plan.serverProcess.map(ResidentMemory.bytes)
        let parking = plan.parkedConnections > 0 ? try park() : nil
        let after = try plan.serverProcess.map(ResidentMemory.bytes)
        let load: Tally?
        do throws(Failure) {
            load = try runLoad()
        } catch {
            parking?.progress.ask(.giveUp)
            _ = parking?.join()  // its connections are of no use without the load
            throw error
        }
        var sums = load?.sums ?? Sums(keys: plan.keys)
        var parked: BenchResult.Parked?
        if let parking {
            let stillOpen = parking.progress.open
            parking.progress.ask(.finish)
            let tally = try parking.join().get()
            sums.add(tally.sums)
            parked = BenchResult.Parked(
                asked: plan.parkedConnections, tally: tally, openAtEnd: stillOpen, residentBefore: before,
                residentAfter: after)
        }
        let outcome = try check?.compare(sums, stopRequests: stopRequests)
        return BenchResult(plan: plan, load: load, parked: parked, samples: samples, check: outcome)
    }

    /// Opens the parked connections, and waits until each has had its answer.
    private mutating func park() throws(Failure) -> LoadThread {
        let count = plan.parkedConnections
        let thread = LoadThread(
            plan, Schedule(.once(count)), address: address, connections: count, stream: plan.threads)
        let line = ProgressLine("connections", total: count)
        defer { line.clear() }
        let deadline = MonotonicClock.milliseconds() + UInt64(plan.patienceMilliseconds)
        while thread.progress.endedRequests < count, thread.progress.runs, MonotonicClock.milliseconds() < deadline {
            try pause()
            if stopRequests > 0 { break }
            line.update(done: thread.progress.endedRequests)
        }
        if !thread.progress.runs { _ = try thread.join().get() }  // by itself it ends with a failure only
        return thread
    }

    /// The load; without one, the time for which parked connections stay.
    private mutating func runLoad() throws(Failure) -> Tally? {
        guard plan.rate != .none else {
            let end = MonotonicClock.milliseconds() + UInt64(plan.durationMilliseconds)
            while stopRequests == 0, MonotonicClock.milliseconds() < end { try pause() }
            return nil
        }
        let threads = (0..<plan.threads).map { number in
            LoadThread(
                plan, schedule(number), address: address,
                connections: (plan.connections + number) / plan.threads, stream: number)
        }
        let conducted = Result { () throws(Failure) in try conduct(threads) }
        if case .failure = conducted {
            for thread in threads { thread.progress.ask(.giveUp) }
        }
        let results = threads.map { $0.join() }
        try conducted.get()
        var tally = Tally(keys: plan.keys)
        for result in results { tally.add(try result.get()) }
        return tally
    }

    private mutating func conduct(_ threads: [LoadThread]) throws(Failure) {
        let line = ProgressLine("bench", total: plan.requests)
        defer { line.clear() }
        while threads.contains(where: { $0.progress.runs }) {
            try pause()
            if stopRequests > 0 {
                for thread in threads { thread.progress.ask(stopRequests > 1 ? .giveUp : .finish) }
            }
            samples.look(hooks, now: MonotonicClock.milliseconds())
            line.update(done: threads.reduce(0) { $0 + $1.progress.endedRequests })
        }
    }

    private func schedule(_ number: Int) -> Schedule {
        switch plan.rate {
        case .perSecond(let rate):
            Schedule(.constant(perSecond: rate, total: plan.requests ?? 0, first: number, step: plan.threads))
        case .flood: Schedule(.flood(nanoseconds: UInt64(plan.durationMilliseconds) * 1_000_000))
        case .none: preconditionFailure("no load, no schedule")
        }
    }

    private mutating func pause() throws(Failure) {
        stopRequests = try hooks.stopRequests(Self.pauseMilliseconds)
    }
}
