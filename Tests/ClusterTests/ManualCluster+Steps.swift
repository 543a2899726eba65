// What an operator does with a cluster of single processes, and what a test then reads.

import ClusterSupport
import Glibc
import ServiceKit

extension ManualCluster {
    /// A web node of one event loop: one producer.
    func startNode() throws(HarnessError) {
        let web = try startWeb(options: ["--event-loops", "1"])
        try waitUntilReady(web)
    }

    /// Posts one by one to the node that was started last: a batch each.
    func post(_ count: Int, key: String = "k", level: String = "stored") throws(HarnessError) {
        for _ in 0..<count {
            try ClusterTests.post(ports[ports.count - 1], #"{"\#(key)":1}"#, level: level)
        }
    }

    func stopConsumer(_ number: Int) throws(HarnessError) {
        try consumers[number].send(SIGTERM)
        let ending = try consumers[number].waitForEnd(within: 30)
        try ClusterTests.check(ending == .code(0), "\(ending): \(tail(consumers[number].errorOutput))")
    }

    /// What a command prints, which must end with `code`; on the cluster's data folder, or on another.
    @discardableResult
    func run(_ arguments: [String], on folder: String? = nil, code: Int32 = 0) throws(HarnessError) -> String {
        try ClusterTests.run(arguments + place(on: folder), code: code)
    }

    /// Runs a command, which must print each of `words`.
    func expect(
        _ arguments: [String], on folder: String? = nil, code: Int32 = 0, _ words: [String]
    ) throws(HarnessError) {
        try ClusterTests.expect(arguments + place(on: folder), code: code, words: words)
    }

    private func place(on folder: String?) -> [String] {
        ["--redis", redisURL, "--data-dir", folder ?? dataFolder]
    }

    func expect(total: Int) throws(HarnessError) {
        try eventually("the total is \(total)", within: 30) { () throws(HarnessError) in
            try report().total == Int128(total)
        }
    }

    func proveExact(audit words: [String] = ["residual 0"]) throws(HarnessError) {
        try expect(["verify"], ["no findings"])
        try expect(["audit"], words)
    }

    // MARK: Snapshots of the host

    /// Copies data folder and Redis as they lie on disk; nothing may consume. Redis is restarted.
    func snapshotHost() throws(HarnessError) {
        try killRedis()
        try Files.copyTree(dataFolder, to: folder.path + "/data-then")
        try Files.copyTree(redisFolder, to: folder.path + "/redis-then")
        try startRedis()
    }

    /// Puts both back. Redis is restarted.
    func putHostBack() throws(HarnessError) {
        try killRedis()
        for (old, new) in [("data-then", dataFolder), ("redis-then", redisFolder)] {
            Files.removeTree(new)
            try Files.move(folder.path + "/" + old, to: new)
        }
        try startRedis()
    }
}
