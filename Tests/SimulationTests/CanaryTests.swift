// Broken protocols that the simulator has to notice: a simulator that finds nothing proves nothing.
//
// Each canary breaks one rule, in the models or between them and the machines, and must be found within its seeds. One
// change is harmless, and finding something there would be as wrong. `lower-epoch` has no canary here, because the rule
// is inside the producer; TallyCoreTests hold it. `no-sweep` and `no-plan-file` belong to the real tools.

import Simulation
import Testing

@Suite(.serialized) struct CanaryTests {
    /// Where each broken rule shows, and within how many seeds it has to.
    static let canaries: [(mutation: Mutation, mix: Mix, seeds: UInt64)] = [
        (.countTrim, .process, 100),
        (.offsetTrim, .backAll, 600),
        (.seqReuse, .backPart, 100),
        (.noContiguity, .backPart, 100),
        (.noOutbox, .backPart, 100),
        (.noFloor, .flush, 100),
        (.autoCreate, .flush, 100),
        (.noHeartbeat, .backAll, 1500),
        (.noBackupCheck, .restore, 100),
        (.noTrimToken, .restore, 2500),
        (.noOrigin, .rebalance, 100),
        (.originMax, .liveBack, 200),
        (.originBatch, .liveBack, 200),
        (.routedNotCarried, .rebalance, 200),
        (.noCarry, .rebalance, 100),
        (.noFenceCheck, .liveBack, 200),
        (.noRetire, .liveBack, 200),
    ]

    private static let enough = 10

    @Test func everyBrokenRuleIsFound() async {
        let sweeps = Self.canaries.map {
            Sweep(mix: $0.mix, seeds: 0..<$0.seeds, mutation: $0.mutation, failuresMax: Self.enough)
        }
        for (canary, tally) in zip(Self.canaries, await Sweep.run(sweeps)) {
            let rate = (Double(tally.failures.count) / Double(tally.seeds) * 1000).rounded() / 10
            print(
                "canary \(canary.mutation.rawValue): found by \(tally.failures.count) of \(tally.seeds) seeds"
                    + " (\(rate) %) of \(canary.mix.name), first \(tally.failures.first?.seed ?? 0):"
                    + " \(tally.failures.first?.problems.first ?? "NOTHING")")
            #expect(!tally.failures.isEmpty, "\(canary.mutation.rawValue) stays unfound")
        }
    }

    @Test func aHarmlessChangeIsNotFound() async {
        let sweeps = [Mix.liveBack, .everything].map {
            Sweep(mix: $0, seeds: 0..<200, mutation: .sealBeforeDedupe)
        }
        let tallies = await Sweep.run(sweeps)
        print("canary seal-before-dedupe, harmless: found by \(tallies.map(\.failures.count)) of 200 seeds each")
        #expect(tallies.map(\.failures.count) == [0, 0])
    }
}
