// A seed replays exactly, in every process and on every machine: without that a failure could not be looked at.
//
// The pinned hashes change whenever the machines or the simulator behave differently in any way; then they are
// printed, and pinned anew.

import Simulation
import Testing

@Suite struct ReplayTests {
    static let pinned: [(Mix, UInt64)] = [
        (.everything, 0x1e6f_d693_53ae_8e79), (.liveBack, 0x53b7_85b5_b93b_2a89),
        (.restoreRebalance, 0x36e7_695a_b34e_1d06),
    ]
    static let onceBroken: [(Mix, UInt64)] = [(.backPart, 1), (.leases, 17)]

    @Test(arguments: pinned)
    func aSeedReplays(mix: Mix, history: UInt64) {
        let run = Run(mix, seed: 1)
        #expect(run.history == history, "\(mix.name) seed 1 has the hash \(run.history)")
        #expect(Run(mix, seed: 1, isTraced: true).history == run.history)
        #expect(Run(mix, seed: 2).history != run.history)
    }

    /// Seeds that once showed a bug of the machines.
    @Test(arguments: onceBroken)
    func aBugStaysFixed(mix: Mix, seed: UInt64) {
        #expect(Run(mix, seed: seed).problems.isEmpty)
    }
}
