// The other five planted losses: a Redis that keeps nothing is killed together with a node. See PlantedLossTests.swift.

import ClusterSupport
import Glibc
import ServiceKit
import Testing

extension ClusterTests {
    @Suite struct VolatileRedisTests {
        struct Case: Sendable, CustomStringConvertible {
            let description: String
            var partitions = 1
            var lanes = 1
            /// Requests that are stored before.
            var stored = 0
            /// Requests that wait in the list when it happens, through node 0, which dies.
            var queued = 6
            /// Requests that wait there of node 1, which lives.
            var ofTheLiving = 0
            /// How many of the first ones their clients send again afterwards, under their Idempotency-Key.
            var sentAgain = 0
        }

        static let cases = [
            Case(description: "all that was ever counted"), Case(description: "the newest", stored: 5, queued: 9),
            Case(description: "of one node of two", stored: 2, queued: 5, ofTheLiving: 4),
            Case(description: "of several partitions", partitions: 3, lanes: 4, stored: 3, queued: 8),
            Case(description: "but for what is sent again", stored: 1, queued: 7, sentAgain: 3),
        ]

        @Test(arguments: cases)
        func theOracleNamesWhatIsLost(_ one: Case) throws {
            try ClusterTests.withPieces("volatile", partitions: one.partitions) { pieces in
                let posts = CountedPosts(pieces, lanes: one.lanes)
                try Self.begin(pieces)
                try Self.count(one, posts)
                try Self.kill(one, posts)
                try Self.goOn(one, posts)
            }
        }
    }
}

extension ClusterTests.VolatileRedisTests {
    private static let allow = ["--allow-volatile-redis"]

    private static func tool(
        _ pieces: ManualCluster, _ arguments: [String], code: Int32 = 0
    ) throws(HarnessError) -> String {
        let result = try Command.tallymill(arguments + pieces.place)
        let said = result.outputText + result.errorText
        try ClusterTests.check(result.code == code, "\(arguments) ended with \(result.code): \(tail(said))")
        return said
    }

    /// A Redis that keeps nothing in the place of the one that does: refused unless allowed, and named by `doctor`.
    private static func begin(_ pieces: ManualCluster) throws(HarnessError) {
        try pieces.killRedis()
        try pieces.startRedis(settings: CampaignStep.RedisSettings.volatile.options)
        let refused = try tool(pieces, ["repair", "--yes"], code: 78)
        try ClusterTests.check(refused.contains("appendonly no"), tail(refused))
        _ = try tool(pieces, ["repair", "--yes"] + allow)
        let findings = try tool(pieces, ["doctor"], code: 3)
        try ClusterTests.check(findings.contains("appendonly"), "doctor does not name it: \(tail(findings, lines: 30))")
    }

    private static func count(_ one: Case, _ posts: CountedPosts) throws(HarnessError) {
        let pieces = posts.pieces
        for _ in 0...1 {
            try pieces.waitUntilReady(try pieces.startWeb(options: ["--event-loops", "1"] + allow))
        }
        let list = "0-\(one.partitions - 1)"
        let consumer = try pieces.startConsumer(list, options: allow)
        var count = posts.post(one.stored, to: 0, level: "stored")
        if one.stored == 0 { try waitUntilConsuming(pieces.consumers[consumer]) }
        try pieces.consumers[consumer].send(SIGTERM)
        let ending = try pieces.consumers[consumer].waitForEnd(within: 20)
        try ClusterTests.check(ending == .code(0), "the consumer \(ending)")
        count += posts.post(one.queued, to: 0, level: "queued", idempotencyKeys: one.sentAgain > 0)
        count += posts.post(one.ofTheLiving, to: 1, level: "queued")
        let expected = one.stored + one.queued + one.ofTheLiving
        try ClusterTests.check(count == expected, "\(count) of \(expected) requests were acknowledged")
        // What waits in the list, and so may be lost, is named while there is somebody to name it.
        let json = try JSONTree(Array(try tool(pieces, ["audit", "--format", "json"] + allow).utf8))
        let streams = (json["partitions"]?.elements ?? []).flatMap { $0["streams"]?.elements ?? [] }
        let queued = streams.reduce(0) { $0 + ($1["queued"]?["increments"]?.integer() ?? 0) }
        try ClusterTests.check(
            queued == posts.increments(one.queued + one.ofTheLiving), "audit names \(queued) queued increments")
    }

    private static func waitUntilConsuming(_ consumer: RunningProcess) throws(HarnessError) {
        try eventually("the consumer consumes", within: 20) { consumer.errorOutput.contains("consuming") }
    }

    private static func kill(_ one: Case, _ posts: CountedPosts) throws(HarnessError) {
        let pieces = posts.pieces
        try pieces.killRedis()
        try pieces.webs[0].kill9()
        let exposed = posts.expose(by: [0], except: try pieces.report().counters)
        try ClusterTests.check(exposed == posts.increments(one.queued), "\(exposed) increments were planted")
        try pieces.startRedis()
    }

    private static func goOn(_ one: Case, _ posts: CountedPosts) throws(HarnessError) {
        let pieces = posts.pieces
        _ = try tool(pieces, ["repair", "--yes"])
        try pieces.startConsumer("0-\(one.partitions - 1)")
        let web = try pieces.startWeb(options: ["--event-loops", "1"])
        for number in [1, web] { try pieces.waitUntilReady(number) }
        for number in 0..<one.sentAgain {
            let fate = posts.again(one.stored + number, to: web, level: "stored")
            try ClusterTests.check(fate == .acknowledged, "sent again: \(fate)")
        }
        let count = posts.post(2, to: web, level: "stored")
        try ClusterTests.check(count == 2, "\(count) of 2 requests were acknowledged afterwards")
        try pieces.settle(posts.ledger)
        let missing = posts.ledger.missing(.exposed, in: try pieces.report().counters)
        let expected = posts.increments(one.queued - one.sentAgain)
        try ClusterTests.check(missing == expected, "\(missing) increments are lost, not \(expected)")
        _ = try tool(pieces, ["verify"])
        let audit = try CampaignAudit(Array(try tool(pieces, ["audit", "--format", "json"]).utf8))
        try ClusterTests.check(audit.residual == 0, "the residual is \(audit.residual)")
        note("planted: a volatile Redis with its node, \(one): \(missing) increments lost, as many as were queued")
    }
}
