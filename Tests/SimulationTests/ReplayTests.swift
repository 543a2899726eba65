// A seed replays exactly, in every process and on every machine: without that a failure could not be looked at.
//
// The pinned hashes change whenever the machines or the simulator behave differently in any way; then they are
// printed, and pinned anew.

import Simulation
import Testing

@Suite struct ReplayTests {
    @Test(arguments: [(Mix.everything, 0x6171_805d_a09a_74a9 as UInt64), (Mix.moveBack, 0x0adb_3e77_c87a_f865)])
    func aSeedReplays(mix: Mix, history: UInt64) {
        let run = Run(mix, seed: 1)
        #expect(run.history == history, "\(mix.name) seed 1 has the hash \(run.history)")
        #expect(Run(mix, seed: 1, isTraced: true).history == run.history)
        #expect(Run(mix, seed: 2).history != run.history)
    }

    /// Seeds that once showed a bug of the machines.
    @Test(arguments: [(Mix.backPart, 1 as UInt64), (.leases, 17)])
    func aBugStaysFixed(mix: Mix, seed: UInt64) {
        #expect(Run(mix, seed: seed).problems.isEmpty)
    }
}
