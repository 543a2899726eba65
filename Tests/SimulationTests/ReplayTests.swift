// A seed replays exactly, in every process and on every machine: without that a failure could not be looked at.
//
// The pinned hashes change whenever the machines or the simulator behave differently in any way; then they are
// printed, and pinned anew.

import Simulation
import Testing

@Suite struct ReplayTests {
    static let pinned: [(Mix, UInt64)] = [
        (.everything, 0xbef0_e956_e172_47c3), (.liveBack, 0xcd24_0a7e_da68_be56),
        (.restoreRebalance, 0x8a82_fd88_8779_e58e),
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
