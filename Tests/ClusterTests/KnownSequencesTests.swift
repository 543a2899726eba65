// Sequences that once counted twice, lost or stranded acknowledged increments, as steps of the campaign: whatever it
// draws, these are run every time.

import ClusterSupport
import Testing

extension ClusterTests {
    @Suite struct KnownSequencesTests {
        struct Known: Sendable, CustomStringConvertible {
            let description: String
            let sequence: CampaignSequence

            init(
                _ description: String, partitions: Int = 1, _ steps: [CampaignStep], hasShortRetention: Bool = false,
                emptySteps: Int = 0
            ) {
                self.description = description
                sequence = CampaignSequence(
                    partitions: partitions, steps: steps, hasShortRetention: hasShortRetention, emptySteps: emptySteps,
                    losesNewest: true)
            }
        }

        @Test(arguments: ofCommands + ofTime + ofCopies)
        func holds(_ known: Known) throws {
            let features = try CampaignFeatures()
            let watch = Stopwatch()
            let seed = TestEnvironment.seed
            if let failure = try CampaignTests.run(known.sequence, seed, features) {
                CampaignTests.tell(known.sequence, seed, failure)
                throw HarnessError("\(known), TALLYMILL_SEED=\(seed): \(failure.text)")
            }
            note("known sequence: \(known): holds after \(watch.text) s")
        }
    }
}

extension ClusterTests.KnownSequencesTests {
    static let ofCommands = [
        Known(
            "purge before the new queues are consumed", partitions: 2,
            [.terminateConsumers, .work, .rebalance(to: 3), .work, .purge, .work, .startConsumers(.right)]),
        Known(
            "purge twice over before the new queues are consumed", partitions: 2,
            [.terminateConsumers, .work, .rebalance(to: 3), .work, .purge, .rebalance(to: 1), .work, .purge]),
        Known(
            "an import through the queues, then the same directly",
            [.terminateConsumers, .importLines(0, isQueued: true), .importLines(0, isQueued: false)], emptySteps: 3),
        Known(
            "a direct import, then the same through the queues",
            [.importKilled(0, isQueued: false, before: 10), .importLines(0, isQueued: true)], emptySteps: 2),
        Known("a Redis that does not fsync", [.work, .startRedis(.noFsync), .work]),
        Known("a Redis that evicts", [.work, .startRedis(.evicting), .work]),
        Known("a Redis that does not fsync during rewrites", [.work, .startRedis(.noFsyncDuringRewrite), .work]),
    ]

    static let ofTime = [
        Known(
            "repeats that wait longer than keys are kept",
            [.ask, .settle, .killConsumers, .askAgain, .letTimePass, .startConsumers(.right), .work],
            hasShortRetention: true),
        Known(
            "requests and their repeats that wait longer than keys are kept",
            [.terminateConsumers, .ask, .askAgain, .letTimePass, .rebalance(to: 2), .startConsumers(.right)],
            hasShortRetention: true),
        Known(
            "a dead letter that is replayed again later",
            [
                .makeLetter, .terminateConsumers, .replayLetters, .startConsumers(.right), .work, .letTimePass,
                .replayLetters,
            ], hasShortRetention: true),
        Known(
            "a consumer whose clock is a month ahead",
            [
                .ask, .settle, .terminateConsumers, .startConsumers(.ahead), .settle, .terminateConsumers,
                .startConsumers(.right), .askAgain,
            ]),
        Known("a node whose clock is behind", [.killNode(0), .startNode(0, .behind), .work, .killNode(1), .work]),
    ]

    static let ofCopies = [
        Known("a snapshot of the host", [.copyHost, .work, .settle, .putBackHost, .work]),
        Known("a backup after Redis was emptied", [.backup, .work, .settle, .flushRedis, .restore, .repair, .work]),
        Known("older files, then a rebalance", [.copyFiles, .work, .settle, .putBackFiles, .rebalance(to: 2), .work]),
        Known(
            "older files and an empty Redis, then a rebalance",
            [.copyFiles, .work, .settle, .flushRedis, .putBackFiles, .rebalance(to: 2), .work]),
        Known(
            "a stale copy meets an emptied Redis first",
            [
                .copyFiles, .terminateConsumers, .rebalance(to: 2), .flushRedis, .staleInit, .killNode(0), .killNode(1),
                .startNode(0, .right), .startNode(1, .right), .staleConsume, .repair,
            ]),
        Known(
            "an older copy of a shard after repair",
            [
                .copyFiles, .work, .freezeConsumers, .flushRedis, .repair, .killNode(0), .startNode(0, .right),
                .staleConsume, .thawConsumers,
            ]),
    ]
}
