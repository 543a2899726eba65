// The operators' campaign: random sequences of documented commands, kills, copies and clocks, under load.
//
//     TALLYMILL_SEQUENCES=300 deploy/test --filter CampaignTests        the longer programme
//     TALLYMILL_SEED=4711 TALLYMILL_SEQUENCES=1 deploy/test --filter CampaignTests    one sequence again
//
// A sequence that fails is printed with its seed; the first of them are cut down to the shortest that still fails.

import ClusterSupport
import Testing

extension ClusterTests {
    @Suite struct CampaignTests {
        private static let steps = 12
        private static let shrinkingRuns = 24
        private static let shrinkingSeconds = 150.0

        @Test func operatorsMayDoWhatIsDocumented() throws {
            let features = try CampaignFeatures()
            let watch = Stopwatch()
            var failed: [UInt64] = []
            for index in 0..<TestEnvironment.sequences {
                let seed = TestEnvironment.seed &+ UInt64(index)
                var draw = CampaignDraw(seed: seed, canStepClocks: features.faketime != nil)
                let sequence = draw.sequence(steps: Self.steps)
                let own = Stopwatch()
                guard let failure = try Self.run(sequence, seed, features, keepsFolder: true) else {
                    note("campaign: TALLYMILL_SEED=\(seed) holds after \(own.text) s")
                    continue
                }
                failed.append(seed)
                Self.tell(sequence, seed, failure)
                if failed.count <= TestEnvironment.cutDown { try Self.cutDown(sequence, seed, failure, features) }
            }
            note("campaign: \(TestEnvironment.sequences) sequences in \(watch.text) s, \(failed.count) failed")
            let seeds = failed.map { "\($0)" }.joined(separator: " ")
            try ClusterTests.check(failed.isEmpty, "sequences failed, TALLYMILL_SEED: \(seeds)")
        }
    }
}

extension ClusterTests.CampaignTests {
    /// Why it fails; nil if it holds.
    ///
    /// - Parameter keepsFolder: whether the folder of one that fails stays, with the logs of all processes.
    static func run(
        _ sequence: CampaignSequence, _ seed: UInt64, _ features: CampaignFeatures, keepsFolder: Bool = false
    ) throws(HarnessError) -> CampaignFailure? {
        let folder = try TestFolder("campaign-\(seed)")
        defer { folder.remove() }
        let run = try CampaignRun(folder, sequence, seed: seed, features)
        defer { run.end() }
        do throws(CampaignFailure) {
            try run.run()
            if TestEnvironment.isTalkative { note("campaign:\n" + run.journal.joined(separator: "\n")) }
            return nil
        } catch {
            if keepsFolder { folder.keep() }
            return error
        }
    }

    static func tell(_ sequence: CampaignSequence, _ seed: UInt64, _ failure: CampaignFailure) {
        note("campaign: TALLYMILL_SEED=\(seed) fails, \(failure.text)\n\(sequence)")
        note("what was run:\n" + failure.journal.joined(separator: "\n"))
    }

    static func cutDown(
        _ sequence: CampaignSequence, _ seed: UInt64, _ failure: CampaignFailure, _ features: CampaignFeatures
    ) throws(HarnessError) {
        var shrinking = CampaignShrinking(runs: shrinkingRuns, seconds: shrinkingSeconds) {
            shorter throws(HarnessError) in try run(shorter, seed, features)
        }
        let shortest = try shrinking.shortest(of: sequence, failing: failure)
        note("campaign: TALLYMILL_SEED=\(seed), cut down to \(shortest.sequence.steps.count) steps:")
        tell(shortest.sequence, seed, shortest.failure)
    }
}
