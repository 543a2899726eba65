// Broken protocols that the simulator has to notice: a simulator that finds nothing proves nothing.
//
// The findings of the second look at exactness, each of them an unmended state that has to be found:
//
//     1  purge before the new queues are consumed        purge-all, unmarked-purge
//     2  an import, then the same one the other way      blind-import, unnamed-import
//     3  claims dated when they are counted              claims-by-arrival, eager-expiry, no-late-check
//     4  a shard older than a live node                  trust-floor
//     5  a dead letter replayed after its claim expired  tool-claims-expire
//     6  a stale copy of an earlier epoch                no-epoch-check
//     7  an older copy after FLUSHALL and repair         blank-create
//     8  settings that changed at a restart              trust-settings
//    10  clocks that step                                blind-clock
//    11  another cluster in the namespace                any-cluster
//    12  tokens that come again                          counted-token
//    13  DUP does not look at the payload                no-history
//
// Each canary breaks one rule, in the models, in the tools, or between them and the machines, and must be found within
// its seeds. Some changes are harmless, and finding something there would be as wrong.

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
        (.originMax, .zombie, 200),
        (.originBatch, .zombie, 200),
        (.routedNotCarried, .rebalance, 200),
        (.noCarry, .rebalance, 100),
        (.noFenceCheck, .zombie, 400),
        (.noRetire, .zombie, 400),
        (.lowerEpoch, .zombie, 200),
        (.noPlanFile, .rebalance, 200),
        (.noSweep, .stragglers, 1000),
        (.earlyPop, .stragglers, 1000),
        (.purgeAll, .purge, 400),
        (.unmarkedPurge, .purge, 1500),
        (.blindImport, .imports, 600),
        (.unnamedImport, .importsAlone, 600),
        (.claimsByArrival, .clocks, 100),
        (.eagerExpiry, .clocks, 400),
        (.noLateCheck, .clocks, 1500),
        (.blindClock, .clocks, 300),
        (.toolClaimsExpire, .letters, 3000),
        (.trustFloor, .loss, 600),
        (.blankCreate, .copies, 1500),
        (.noEpochCheck, .copiesRebalance, 3000),
        (.countedToken, .tokens, 2500),
        (.anyCluster, .foreign, 200),
        (.noHistory, .rewind, 100),
        (.trustSettings, .unfit, 200),
        (.forgetFloors, .hostBackRebalance, 600),
        (.anyPartitions, .hostBackRebalance, 1500),
        (.lowEpoch, .hostBackRebalance, 600),
        (.derivedShard, .hostBackRebalance, 1500),
        (.hastyStop, .stops, 600),
        (.buryHead, .garbage, 100),
    ]

    private static let enough = 6

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

    /// Changes that look like broken rules and break nothing, each with its reason: to find something there would be as
    /// wrong as to find nothing elsewhere.
    static let harmless: [(mutation: Mutation, reason: String)] = [
        (.sealBeforeDedupe, "the node keeps what it cannot confirm, moves, and sends it with its origin"),
        (.topoBlind, "nodes ignore a lower epoch, and repair publishes again"),
        (.drainNoSealCheck, "what is pushed after the drain lies in an old list: it is swept, and has an origin"),
        (.noSeal, "nodes move when they next read the topology; until then as without the check"),
    ]

    private static let harmlessSeeds: UInt64 = 60

    @Test func aHarmlessChangeIsNotFound() async {
        let mixes = [Mix.everything, .liveBack, .stragglers]
        let sweeps = Self.harmless.flatMap { change in
            mixes.map { Sweep(mix: $0, seeds: 0..<Self.harmlessSeeds, mutation: change.mutation) }
        }
        let tallies = await Sweep.run(sweeps)
        for (index, change) in Self.harmless.enumerated() {
            let failures = tallies[index * mixes.count..<(index + 1) * mixes.count].flatMap(\.failures)
            print(
                "canary \(change.mutation.rawValue), harmless: found by \(failures.count) of "
                    + "\(mixes.count) x \(Self.harmlessSeeds) seeds,"
                    + " for \(change.reason)")
            #expect(failures.map(\.problems).isEmpty, "\(change.mutation.rawValue): \(failures.map(\.seed))")
        }
    }
}
