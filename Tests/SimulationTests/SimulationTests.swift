// The protocol under every mix of faults: nothing that was acknowledged is lost, nothing is counted twice.
//
//     TALLYMILL_SEEDS=200000 swift test -c release -Xswiftc -enable-testing --filter SimulationTests
//     TALLYMILL_SEEDS=2000 TALLYMILL_MIX=zombie swift test ...        one mix alone
//     TALLYMILL_MIX=everything TALLYMILL_SEED=17 swift test ...     one run, with its trace
//
// TALLYMILL_MUTATION names a canary to run with.

import Glibc
import Simulation
import Testing

func environment(_ name: String) -> String? {
    getenv(name).map { String(cString: $0) }
}

@Suite(.serialized) struct SimulationTests {
    /// Seeds of an ordinary run over all mixes together.
    static let seedsMin = 20_000

    @Test func everyMixIsExact() async throws {
        if environment("TALLYMILL_SEED") != nil { return }
        let asked = Self.seedsAsked()
        let mixes = Self.mixesAsked()
        let perMix = (asked + mixes.count - 1) / mixes.count
        let start = ContinuousClock.now
        let mutation = environment("TALLYMILL_MUTATION").flatMap { Mutation(rawValue: $0) }
        let sweeps = mixes.map { Sweep(mix: $0, seeds: 0..<UInt64(perMix), mutation: mutation) }
        let tallies = await Sweep.run(sweeps)
        let seconds = (ContinuousClock.now - start) / .seconds(1)
        var all = Tally()
        for (mix, tally) in zip(mixes, tallies) {
            Self.report(mix.name, tally)
            all += tally
        }
        Self.report("all", all)
        print(
            "simulation: \(all.seeds) seeds in \(Self.rounded(seconds)) s on two threads,"
                + " \(Self.rounded(all.seconds)) s added up")
        for run in all.failures.prefix(20) {
            print("FAILED: replay with TALLYMILL_MIX=\(run.mix.name) TALLYMILL_SEED=\(run.seed): \(run.problems[0])")
        }
        let points = all.killedTools.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
        print("simulation: tools killed at: \(points.joined(separator: ", "))")
        #expect(all.failures.map(\.problems).isEmpty)
        #expect(all.seeds >= asked)
        #expect(all.acknowledgedIncrements > 0)
    }

    /// One run with its trace, if the environment names it.
    @Test func replay() throws {
        guard let seed = environment("TALLYMILL_SEED").flatMap({ UInt64($0) }) else { return }
        let mix = try #require(Mix.all.first { $0.name == environment("TALLYMILL_MIX") ?? "everything" })
        let mutation = environment("TALLYMILL_MUTATION").flatMap { Mutation(rawValue: $0) }
        let run = Run(mix, seed: seed, mutation: mutation, isTraced: true)
        for line in run.trace { print(line) }
        print("\(mix.name) \(seed): \(run.problems.isEmpty ? ["no problem"] : run.problems), hash \(run.history)")
        #expect(run.problems.isEmpty)
    }

    private static func mixesAsked() -> [Mix] {
        guard let name = environment("TALLYMILL_MIX") else { return Mix.all }
        let mixes = Mix.all.filter { $0.name == name }
        precondition(!mixes.isEmpty, "TALLYMILL_MIX is none of \(Mix.all.map(\.name))")
        return mixes
    }

    private static func seedsAsked() -> Int {
        if let asked = environment("TALLYMILL_SEEDS").flatMap({ Int($0) }) { return asked }
        #if DEBUG
            print("simulation: a debug build runs few seeds; -c release -Xswiftc -enable-testing runs \(seedsMin)")
            return 20 * Mix.all.count
        #else
            return seedsMin
        #endif
    }

    static func rounded(_ seconds: Double) -> Double { (seconds * 10).rounded() / 10 }

    static func report(_ name: String, _ tally: Tally) {
        let lost = tally.count { $0.hasPrefix("lost") }
        let doubled = tally.count { $0.hasPrefix("duplicate") }
        print(
            "simulation \(name): seeds \(tally.seeds), \(rounded(tally.seconds)) s,"
                + " acknowledged \(tally.acknowledgedIncrements), lost \(lost), doubled \(doubled),"
                + " other \(tally.failures.count - max(lost, doubled)), refused \(tally.refusals)/\(tally.requests),"
                + " double faults \(tally.doubleFaults), 202 \(tally.cutShort), replays \(tally.replays),"
                + " gaps \(tally.gaps), dead letters \(tally.deadLetters), rebalances \(tally.rebalances),"
                + " epochs up to \(tally.epoch), killed tools \(tally.killedTools.values.reduce(0, +)),"
                + " swept batches \(tally.swept),"
                + " files refused \(tally.refusedFiles)")
    }
}
