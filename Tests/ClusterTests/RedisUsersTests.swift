// deploy/redis-acl.conf with a real Redis: each program works as its user, and no user can do what is not its own.

import ClusterSupport
import Glibc
import ServiceKit
import Testing

extension ClusterTests {
    @Suite struct RedisUsersTests {
        /// What each user may not do, and what Redis calls it.
        private static let forbidden: [(user: String, command: [String])] = [
            ("node", ["FLUSHALL"]), ("node", ["CONFIG", "SET", "appendfsync", "no"]),
            ("node", ["EVAL", "return 1", "0"]),
            ("node", ["DEL", "tallymill:{e1.p0}:queue"]), ("node", ["LTRIM", "tallymill:{e1.p0}:queue", "1", "0"]),
            ("node", ["SET", "tallymill:topology", "x"]), ("node", ["GET", "other"]), ("node", ["KEYS", "*"]),
            ("node", ["HSET", "tallymill:topology", "a", "b"]), ("node", ["FUNCTION", "FLUSH"]),
            ("node", ["FCALL", "tallymill_1_trim", "0"]), ("node", ["FCALL", "tallymill_1_claim", "0"]),
            ("node", ["FCALL", "tallymill_1_create", "0"]), ("node", ["ACL", "SETUSER", "node", "allcommands"]),
            ("node", ["HSET", "tallymill:{e1.p0}:applied", "0123456789abcdef", "9"]),
            ("node", ["RPUSH", "tallymill:{e1.p0}:meta", "x"]),
            ("node", ["HSET", "tallymill:{e1.p0}:queue", "a", "b"]),
            ("node", ["LRANGE", "tallymill:{e1.p0}:queue", "0", "-1"]),
            ("consumer", ["HSET", "tallymill:{e1.p0}:seqs", "0123456789abcdef", "9"]),
            ("consumer", ["HDEL", "tallymill:{e1.p0}:applied", "0123456789abcdef"]),
            ("consumer", ["FLUSHALL"]), ("consumer", ["RPUSH", "tallymill:{e1.p0}:queue", "x"]),
            ("consumer", ["DEL", "tallymill:{e1.p0}:queue"]), ("consumer", ["FCALL", "tallymill_1_push", "0"]),
            ("consumer", ["FCALL", "tallymill_1_seal", "0"]), ("consumer", ["SET", "tallymill:topology", "x"]),
            ("consumer", ["EVAL", "return 1", "0"]), ("consumer", ["FUNCTION", "LOAD", "x"]),
            ("admin", ["FLUSHALL"]), ("admin", ["CONFIG", "SET", "appendonly", "no"]),
            ("admin", ["EVAL", "return 1", "0"]),
            ("admin", ["DEL", "other"]), ("admin", ["SHUTDOWN"]), ("admin", ["ACL", "LIST"]),
        ]

        @Test func eachWorksAsItsUserAndNoMore() throws {
            try ClusterTests.inFolder("users") { folder in
                let redis = try GuardedRedis(folder)
                defer { redis.destroy() }
                try Self.work(redis)
                for (user, command) in Self.forbidden {
                    let said = try redis.ask(command, as: user)
                    try ClusterTests.check(
                        said.contains("NOPERM"), "\(user) \(command.joined(separator: " ")): \(said)")
                }
                let said = try redis.ask(["PING"], as: nil)
                try ClusterTests.check(said.contains("NOAUTH"), "without a user: \(said)")
                try Self.refusals(redis)
            }
        }

        /// Set up, counted, rebalanced, repaired after a loss, verified: every command as the user that the file names.
        private static func work(_ redis: GuardedRedis) throws {
            _ = try redis.tallymill(["init", "--partitions", "2"], as: "admin")
            let port = try Loopback.freePort()
            let web = try redis.start(["web", "--listen", "127.0.0.1:\(port)"], as: "node")
            var consumer = try redis.start(["consume", "--partitions", "0-1"], as: "consumer")
            try eventually("the node is ready", within: 20) { () throws(HarnessError) in
                if let ending = try web.poll() { throw HarnessError("the node \(ending): \(web.errorOutput)") }
                return Loopback.ask(port, .get("/readyz"))?.status == 200
            }
            var counted = 0
            func count(_ level: String) throws {
                for index in 0..<50 {
                    var request = HTTPRequest("/increment?key=k\(index)&value=2&level=\(level)")
                    request.headers = [("Idempotency-Key", "\"\(counted)\"")]
                    // Of a partition that was repaired a moment ago, the node may still say 503: nothing counted.
                    try eventually("an increment is counted", within: 20) {
                        Loopback.ask(port, request)?.status == 200
                    }
                    counted += 2
                }
            }
            try count("stored")
            for role in [web, consumer] { try seesQueues(role) }
            for command in ["status", "verify", "audit"] { _ = try redis.tallymill([command], as: "admin") }
            let node = ["audit", "--node", "http://127.0.0.1:\(port)"]
            _ = try redis.tallymill(node, as: "admin")
            try redis.stop(consumer)
            try count("queued")
            _ = try redis.tallymill(["rebalance", "run", "--to", "3", "--yes"], as: "admin")
            try redis.loseKeys(except: "tallymill:topology")
            _ = try redis.tallymill(["repair", "--yes"], as: "admin")
            consumer = try redis.start(["consume", "--partitions", "0-2"], as: "consumer")
            try eventually("all is counted", within: 30) { () throws(HarnessError) in
                if let ending = try consumer.poll() { throw HarnessError("\(ending): \(consumer.errorOutput)") }
                return try redis.total() == counted
            }
            try eventually("the node is ready again", within: 20) { Loopback.ask(port, .get("/readyz"))?.status == 200 }
            try count("stored")
            let lines = "\(redis.folder.path)/lines"
            try Files.write(Array("i 5\n".utf8), to: lines)
            _ = try redis.tallymill(["import", "--format", "text", lines], as: "admin")
            _ = try redis.tallymill(["rebalance", "purge", "--yes"], as: "admin")
            try eventually("the import is counted", within: 30) { () throws(HarnessError) in
                try redis.total() == counted + 5
            }
            for command in ["verify", "audit"] { _ = try redis.tallymill([command], as: "admin") }
            try redis.stop(consumer)
            let (epoch, old) = ("\(redis.folder.path)/data/epoch-0002", "\(redis.folder.path)/old")
            try Files.copyTree(epoch, to: old)
            consumer = try redis.start(["consume", "--partitions", "0-2"], as: "consumer")
            try count("stored")
            try redis.stop(web)
            try redis.stop(consumer)
            try seesAnOldShard(redis, epoch, old)
        }

        /// `status` names what a shard lacks also to users who may not read whole lists.
        private static func seesAnOldShard(_ redis: GuardedRedis, _ epoch: String, _ old: String) throws {
            let newest = old + "-newest"
            try Files.move(epoch, to: newest)
            try Files.move(old, to: epoch)
            var said: [String] = []
            for user in ["consumer", "admin"] {
                let lines = try redis.tallymill(["status"], as: user).outputText.split(separator: "\n")
                said.append(lines.filter { $0.contains("were committed once") }.joined(separator: "\n"))
                let command = " --redis unix://\(user)@\(redis.folder.path)/redis.sock --redis-password-file "
                try ClusterTests.check(said.last?.contains(command) == true, "\(lines)")
            }
            let ranges = said.map { text in text.split(separator: "\n").map { $0.prefix { $0 != "." } } }
            try ClusterTests.check(ranges[0] == ranges[1] && !ranges[0].isEmpty, "\(ranges)")
            try Files.move(epoch, to: old)
            try Files.move(newest, to: epoch)
        }

        /// The monitor of a role may ask what it asks.
        private static func seesQueues(_ role: RunningProcess) throws {
            try eventually("the queues are looked at", within: 20) {
                guard let port = role.errorOutput.firstMatch(of: /administration address=127.0.0.1:(\d+)/),
                    let number = UInt16(port.1)
                else { return false }
                return Loopback.ask(number, .get("/status"))?.text.contains(#""redis_reachable":true"#) == true
            }
        }

        /// Programs as the wrong user say who is refused, and what to do.
        private static func refusals(_ redis: GuardedRedis) throws {
            let hint = "connect as a user of Redis who may: the sample redis-acl.conf lists what each program needs."
            for (command, user) in [(["init", "--partitions", "3"], "node"), (["verify"], "consumer")] {
                let said = try redis.tallymill(command, as: user, code: 78).errorText
                try ClusterTests.check(said.contains("NOPERM user \(user): ") && said.contains(hint), said)
            }
            let web = try redis.tallymill(["status"], as: "nobody", code: 78).errorText
            try ClusterTests.check(web.contains("user or password is wrong"), web)
        }
    }
}

/// A Redis with the users of the sample, whose passwords are filled in, and a data folder.
private final class GuardedRedis {
    static let users = ["node", "consumer", "admin"]
    let folder: TestFolder
    private let process: RunningProcess
    private var started: [RunningProcess] = []

    private var socket: String { "\(folder.path)/redis.sock" }

    init(_ folder: TestFolder) throws(HarnessError) {
        self.folder = folder
        var text = Files.text(TestEnvironment.packageFolder + "/deploy/redis-acl.conf")
        for user in Self.users {
            let file = "\(folder.path)/\(user).password"
            try Files.write(Array("\(user)-password\n".utf8), to: file)
            let digest = try Command.run("/bin/sh", ["-c", "printf %s \"$(cat \(file))\" | sha256sum"])
            let placeholder = "#SHA256_OF_THE_\(user.uppercased())_PASSWORD"
            guard text.contains(placeholder) else { throw HarnessError("the sample has no \(placeholder)") }
            text = text.replacing(placeholder, with: "#\(digest.outputText.prefix(64))")
        }
        // The tests themselves: what they do to Redis, no program of ours does.
        text += "\nuser tests on nopass ~* +@all\n"
        let file = "\(folder.path)/redis.conf"
        try Files.write(Array(text.utf8), to: file)
        process = try RunningProcess(
            TestEnvironment.program("redis-server"),
            [
                file, "--port", "0", "--unixsocket", "\(folder.path)/redis.sock", "--dir", folder.path, "--appendonly",
                "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction", "--save", "",
            ], log: "\(folder.path)/redis")
        try eventually("Redis answers", within: 20) { () throws(HarnessError) in
            if let ending = try process.poll() { throw HarnessError("Redis \(ending): \(tail(process.output))") }
            return try ask(["PING"], as: "tests") == "PONG"
        }
    }

    func destroy() {
        for process in started + [process] {
            do throws(HarnessError) { try process.kill9() } catch { note("cannot end \(process.pid): \(error)") }
        }
    }

    private func place(_ user: String) -> [String] {
        [
            "--redis", "unix://\(user)@\(socket)", "--data-dir", "\(folder.path)/data", "--redis-password-file",
            "\(folder.path)/\(Self.users.contains(user) ? user : "node").password",
        ]
    }

    /// What Redis says to a command; nil is nobody.
    func ask(_ command: [String], as user: String?) throws(HarnessError) -> String {
        let login = user.map { ["--user", $0, "--pass", "\($0)-password", "--no-auth-warning"] } ?? []
        let result = try Command.run(TestEnvironment.program("redis-cli"), ["-s", socket] + login + command)
        return String(result.outputText.split(separator: "\n").joined(separator: "\n"))
    }

    func tallymill(_ arguments: [String], as user: String, code: Int32 = 0) throws(HarnessError) -> Command {
        let result = try Command.tallymill(arguments + place(user), within: 60)
        guard result.code == code else {
            throw HarnessError("\(arguments) ended with \(result.code): \(result.outputText)\(result.errorText)")
        }
        return result
    }

    func start(_ arguments: [String], as user: String) throws(HarnessError) -> RunningProcess {
        let process = try RunningProcess(
            TestEnvironment.binary(), arguments + place(user), log: "\(folder.path)/\(arguments[0])-\(started.count)")
        started.append(process)
        return process
    }

    func stop(_ process: RunningProcess) throws(HarnessError) {
        try process.send(SIGTERM)
        let ending = try process.waitForEnd(within: 30)
        guard ending == .code(0) else { throw HarnessError("\(ending): \(tail(process.errorOutput))") }
    }

    /// Deletes all of the cluster's keys but one.
    func loseKeys(except kept: String) throws(HarnessError) {
        for key in try ask(["KEYS", "*"], as: "tests").split(separator: "\n") where key != kept {
            _ = try ask(["DEL", String(key)], as: "tests")  // whatever there was is gone
        }
    }

    func total() throws(HarnessError) -> Int {
        Int(try Report.read("\(folder.path)/data").total)
    }
}
