// Runs many seeds on two threads and adds up what they showed.
//
// The thread that runs a seed notes it in a place that survives a trap, so that a failed precondition, too, names the
// seed that replays it.

import Glibc
import Simulation
import Synchronization

/// What the seeds of one mix showed together.
struct Tally: Sendable {
    var seeds = 0
    var seconds = 0.0
    var acknowledgedIncrements = 0
    var requests = 0
    var refusals = 0
    var doubleFaults = 0
    var cutShort = 0
    var rebalances = 0
    var killedTools: [String: Int] = [:]
    var epoch: UInt32 = 1
    var swept = 0
    var refusedFiles = 0
    var deadLetters = 0
    var replays: UInt64 = 0
    var gaps: UInt64 = 0
    var failures: [Run] = []

    mutating func add(_ run: Run, seconds: Double) {
        seeds += 1
        self.seconds += seconds
        acknowledgedIncrements += run.acknowledgedIncrements
        requests += run.requests
        refusals += run.refusals
        doubleFaults += run.doubleFaults
        cutShort += run.counts.cutShort
        rebalances += run.counts.rebalances
        killedTools.merge(run.counts.killedTools, uniquingKeysWith: +)
        epoch = max(epoch, run.counts.epoch)
        swept += run.counts.swept
        refusedFiles += run.counts.refusedFiles
        deadLetters += run.counts.deadLetters
        replays += run.counts.replays
        gaps += run.counts.gaps
        if !run.problems.isEmpty { failures.append(run) }
    }

    static func += (left: inout Tally, right: Tally) {
        left.seeds += right.seeds
        left.seconds += right.seconds
        left.acknowledgedIncrements += right.acknowledgedIncrements
        left.requests += right.requests
        left.refusals += right.refusals
        left.doubleFaults += right.doubleFaults
        left.cutShort += right.cutShort
        left.rebalances += right.rebalances
        left.killedTools.merge(right.killedTools, uniquingKeysWith: +)
        left.epoch = max(left.epoch, right.epoch)
        left.swept += right.swept
        left.refusedFiles += right.refusedFiles
        left.deadLetters += right.deadLetters
        left.replays += right.replays
        left.gaps += right.gaps
        left.failures += right.failures
    }

    /// How often a problem of this kind was found.
    func count(where matches: (String) -> Bool) -> Int {
        failures.count { $0.problems.contains(where: matches) }
    }
}

/// Seeds of one mix, with or without a rule broken.
struct Sweep: Sendable {
    let mix: Mix
    let seeds: Range<UInt64>
    var mutation: Mutation?
    /// A canary that was seen often enough need not be seen again.
    var failuresMax = Int.max

    private static let chunk: UInt64 = 25

    /// Runs all sweeps, two seeds at a time; the tallies in the order of the sweeps.
    static func run(_ sweeps: [Sweep]) async -> [Tally] {
        CrashNote.install()
        let work = Work(sweeps)
        await withTaskGroup(of: Void.self) { group in
            for slot in 0..<CrashNote.slots {
                group.addTask {
                    while let (index, seeds) = work.next() {
                        work.add(sweeps[index].tally(of: seeds, slot: slot), to: index)
                    }
                }
            }
        }
        return work.tallies
    }

    private func tally(of seeds: Range<UInt64>, slot: Int) -> Tally {
        var tally = Tally()
        let clock = ContinuousClock()
        for seed in seeds {
            CrashNote.set("\(mix.name) seed \(seed) \(mutation?.rawValue ?? "")", slot: slot)
            let start = clock.now
            let run = Run(mix, seed: seed, mutation: mutation)
            tally.add(run, seconds: (clock.now - start) / .seconds(1))
        }
        CrashNote.set("", slot: slot)
        return tally
    }

    /// What is left to do, and what was found.
    private final class Work: Sendable {
        private let sweeps: [Sweep]
        private let state: Mutex<(next: [UInt64], tallies: [Tally])>

        init(_ sweeps: [Sweep]) {
            self.sweeps = sweeps
            state = Mutex((sweeps.map(\.seeds.lowerBound), sweeps.map { _ in Tally() }))
        }

        var tallies: [Tally] { state.withLock { $0.tallies } }

        func next() -> (index: Int, seeds: Range<UInt64>)? {
            state.withLock { state in
                for (index, sweep) in sweeps.enumerated() {
                    let from = state.next[index]
                    if from >= sweep.seeds.upperBound { continue }
                    if state.tallies[index].failures.count >= sweep.failuresMax { continue }
                    let to = min(from + Sweep.chunk, sweep.seeds.upperBound)
                    state.next[index] = to
                    return (index, from..<to)
                }
                return nil
            }
        }

        func add(_ tally: Tally, to index: Int) {
            state.withLock { $0.tallies[index] += tally }
        }
    }
}

/// Says which seeds were running when a trap ends the process.
enum CrashNote {
    static let slots = 2
    private static let bytes = 128
    // Written by the task that owns the slot, read by the handler, which cannot do worse than print a torn line.
    private nonisolated(unsafe) static let notes = UnsafeMutablePointer<CChar>.allocate(capacity: slots * bytes)

    static func install() {
        notes.initialize(repeating: 0, count: slots * bytes)
        for number in [SIGILL, SIGTRAP, SIGSEGV] {
            _ = signal(number) { number in  // the handler before it is the default one
                for slot in 0..<CrashNote.slots { CrashNote.write(slot) }
                _ = signal(number, SIG_DFL)  // the same
                raise(number)
            }
        }
    }

    static func set(_ text: String, slot: Int) {
        let place = notes + slot * bytes
        for (offset, byte) in text.utf8.prefix(bytes - 1).enumerated() { place[offset] = CChar(bitPattern: byte) }
        place[min(text.utf8.count, bytes - 1)] = 0
    }

    private static func write(_ slot: Int) {
        let place = notes + slot * bytes
        if place[0] == 0 { return }
        let prefix: StaticString = "\nsimulation was running: "
        _ = Glibc.write(2, prefix.utf8Start, prefix.utf8CodeUnitCount)  // nothing is left to do if it fails
        _ = Glibc.write(2, place, strlen(place))  // the same
        _ = Glibc.write(2, "\n", 1)  // the same
    }
}
