// Ten sequences that really lose, each to the increment as many as it must: five because files older than what was
// confirmed are accepted, which the tools must name; five because a Redis that keeps nothing is killed together with
// the node that had sent them. Of those nothing is left that could name them but what was said before (`doctor`,
// `audit`) and the oracle.

import ClusterSupport
import Glibc
import Testing

extension ClusterTests {
    @Suite struct PlantedLossTests {
        enum OldFiles: String, CaseIterable, Sendable {
            /// Files and Redis of one moment come back, the node has lived on.
            case hostSnapshot
            /// Redis is emptied, an older backup restored.
            case flushedAndRestored
            /// The shards are gone, Redis is whole, the backup is older than the last trim.
            case shardsLost
            /// Files of several partitions come back alone; the node that sent the rest is dead.
            case filesAlone
            /// Two nodes, three partitions; each range is accepted by its name, one after the other.
            case rangeByRange

            /// Over several partitions, whose sequences run alike.
            var isSpread: Bool { self == .filesAlone || self == .rangeByRange }
        }

        static let kept = 4
        static let lost = 7

        @Test(arguments: OldFiles.allCases)
        func toolsNameWhatIsAccepted(_ kind: OldFiles) throws {
            let features = try CampaignFeatures()
            try ClusterTests.check(
                features.repairAcceptsLoss, "this build has no `repair --accept-loss`: there is no way on")
            let partitions = kind.isSpread ? 3 : 1
            try ClusterTests.withPieces("planted-\(kind)", partitions: partitions) { pieces in
                let plant = Plant(pieces, lanes: kind.isSpread ? 4 : 1)
                try plant.start(nodes: kind == .rangeByRange ? 2 : 1)
                try plant.lose(kind)
                try plant.acceptLoss(kind)
                try plant.prove(kind)
            }
        }
    }
}

/// One planted loss. Owned by one thread.
private final class Plant {
    typealias OldFiles = ClusterTests.PlantedLossTests.OldFiles
    private let pieces: ManualCluster
    private let posts: CountedPosts
    private var consumer = 0
    private var nodes = 1

    init(_ pieces: ManualCluster, lanes: Int) {
        self.pieces = pieces
        posts = CountedPosts(pieces, lanes: lanes)
    }

    private var backup: String { pieces.folder.path + "/backup" }
    private var lost: Int { ClusterTests.PlantedLossTests.lost * nodes }

    func start(nodes: Int) throws(HarnessError) {
        self.nodes = nodes
        for _ in 0..<nodes { try pieces.waitUntilReady(try pieces.startWeb(options: ["--event-loops", "1"])) }
        try startConsumer()
        try post(ClusterTests.PlantedLossTests.kept)
        try stopConsumer()
    }

    private func startConsumer() throws(HarnessError) {
        consumer = try pieces.startConsumer("0-\(pieces.partitions - 1)")
    }

    private func stopConsumer() throws(HarnessError) {
        try pieces.consumers[consumer].send(SIGTERM)
        _ = try pieces.consumers[consumer].waitForEnd(within: 20)  // how it ends depends on what it met
    }

    /// Through every node, each answered as stored.
    private func post(_ requests: Int) throws(HarnessError) {
        for web in pieces.webs.indices where try pieces.webs[web].poll() == nil {
            let count = posts.post(requests, to: web, level: "stored")
            try ClusterTests.check(count == requests, "\(count) of \(requests) requests were acknowledged")
        }
    }

    private func tool(_ arguments: [String], codes: [Int32] = [0]) throws(HarnessError) -> String {
        let result = try Command.tallymill(arguments + pieces.place)
        let said = result.outputText + result.errorText
        try ClusterTests.check(codes.contains(result.code), "\(arguments) ended with \(result.code): \(tail(said))")
        return said
    }

    // MARK: The loss

    func lose(_ kind: OldFiles) throws(HarnessError) {
        let copy = pieces.folder.path + "/copy"
        let redisCopy = pieces.folder.path + "/redis.copy"
        _ = try tool(["backup", backup])
        try Files.copyTree(pieces.dataFolder, to: copy)
        try pieces.redis?.send(SIGSTOP)
        try Files.copyTree(pieces.redisFolder, to: redisCopy)
        try pieces.redis?.send(SIGCONT)
        let safe = try pieces.report().counters
        try startConsumer()
        try post(ClusterTests.PlantedLossTests.lost)
        try stopConsumer()
        let exposed = posts.expose(except: safe)
        try ClusterTests.check(exposed == posts.increments(lost), "\(exposed) increments were planted")
        switch kind {
        case .hostSnapshot:
            try pieces.killRedis()
            try replace(pieces.redisFolder, by: redisCopy)
            try replace(pieces.dataFolder, by: copy)
            try pieces.startRedis()
        case .flushedAndRestored:
            _ = try pieces.redisCommand(["FLUSHALL"])  // the tools will see it
            try restore(["--replace"])
        case .shardsLost:
            Files.removeTree(pieces.dataFolder + "/epoch-0001")
            try restore([])
        case .filesAlone:
            try pieces.webs[0].kill9()
            try replace(pieces.dataFolder, by: copy)
            try pieces.waitUntilReady(try pieces.startWeb(options: ["--event-loops", "1"]))
        case .rangeByRange: try replace(pieces.dataFolder, by: copy)
        }
    }

    private func replace(_ folder: String, by copy: String) throws(HarnessError) {
        try Files.move(folder, to: folder + ".aside")
        try Files.copyTree(copy, to: folder)
    }

    /// Refused with each range named, then told otherwise.
    private func restore(_ options: [String]) throws(HarnessError) {
        let refused = try tool(["restore", backup] + options, codes: [3])
        try checkNamed(refused, "restore")
        _ = try tool(["restore", backup, "--accept-loss"] + options)
    }

    private func checkNamed(_ said: String, _ who: String) throws(HarnessError) {
        let named = NamedRange.missing(in: said).reduce(0) { $0 + $1.batches }
        let expected = posts.batches(lost)
        try ClusterTests.check(named == expected, "\(who) names \(named) batches, \(expected) are lost: \(tail(said))")
    }

    // MARK: The way on

    func acceptLoss(_ kind: OldFiles) throws(HarnessError) {
        try startConsumer()
        if kind == .flushedAndRestored || kind == .shardsLost {
            // The restore has written down what it lost: nothing more is missing.
            _ = try tool(["repair", "--yes"])
            for web in pieces.webs.indices { try pieces.waitUntilReady(web) }
            return
        }
        // A node that lives says so and acknowledges nothing; a consumer of files that are too old refuses them.
        if kind == .hostSnapshot {
            try pieces.waitUntilReady(0)
            let count = posts.post(1, to: 0, level: "queued")
            try ClusterTests.check(count == 0, "acknowledged, though the shard lacks what came before")
        }
        let said = try tool(["verify"], codes: [3])
        try checkNamed(said, "verify")
        try checkNamed(try tool(["repair", "--yes"], codes: [3]), "repair")
        try stopConsumer()
        if kind == .rangeByRange { try acceptOneByOne(said) } else { try accept("all", leaving: []) }
        try startConsumer()
        for web in pieces.webs.indices where try pieces.webs[web].poll() == nil { try pieces.waitUntilReady(web) }
    }

    /// Each leaves the others as they are.
    private func acceptOneByOne(_ said: String) throws(HarnessError) {
        var options = NamedRange.options(in: said)
        try ClusterTests.check(options.count > nodes, "\(options) are not of several partitions")
        let producer = options[0].split(separator: "/").last.map { String($0) } ?? ""
        let refused = try tool(["repair", "--yes", "--accept-loss", producer], codes: [64])
        try ClusterTests.check(refused.contains("is missing in several partitions"), refused)
        while let option = options.popLast() { try accept(option, leaving: options) }
    }

    private func accept(_ option: String, leaving others: [String]) throws(HarnessError) {
        let said = try tool(["repair", "--yes", "--accept-loss", option], codes: [others.isEmpty ? 0 : 3])
        let left = Set(NamedRange.options(in: said))
        try ClusterTests.check(left == Set(others), "\(left) are left, not \(others): \(said)")
    }

    func prove(_ kind: OldFiles) throws(HarnessError) {
        try post(2)
        try pieces.settle(posts.ledger)
        let counters = try pieces.report().counters
        let missing = posts.ledger.missing(.exposed, in: counters)
        try ClusterTests.check(missing == posts.increments(lost), "\(missing) increments are missing")
        _ = try tool(["verify"])
        let audit = try CampaignAudit(Array(try tool(["audit", "--format", "json"]).utf8))
        let batches = posts.batches(lost)
        // Of a dead node no batch follows that would tell how much they held.
        let isExact = kind == .filesAlone ? audit.namesUnknownLosses : audit.lostIncrements == missing
        try ClusterTests.check(
            audit.residual == 0 && isExact && audit.lostBatches == batches,
            "audit names \(audit.lostIncrements) increments in \(audit.lostBatches) batches, not in \(batches), "
                + "residual \(audit.residual)")
        note("planted: \(kind): \(missing) increments lost, named in \(audit.lostBatches) batches")
    }
}
