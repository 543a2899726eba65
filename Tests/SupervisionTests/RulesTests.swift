// What is decided without processes: restarts, patience, words.

import ServiceKit
import Testing

@testable import Supervision

@Suite struct RestartRulesTests {
    @Test func delaysDoubleUpToOneSecondAndStartAnewAfterAGoodLife() {
        var rules = RestartRules()
        var now: UInt64 = 1_000_000
        var delays: [UInt64] = []
        for lifeMilliseconds: UInt64 in [5, 5, 5, 5, 5, 5, 5, 9_999, 10_000, 5] {
            let started = now
            now += lifeMilliseconds
            let decision = rules.ended(code: nil, started: started, now: now, isStopping: false, wasEverReady: true)
            guard case .restart(let delay) = decision else {
                Issue.record("\(decision)")
                return
            }
            delays.append(delay)
            now += delay
        }
        #expect(delays == [0, 50, 100, 200, 400, 800, 1_000, 1_000, 0, 50])
    }

    @Test func codesThatARestartCannotCure() {
        for code in ExitCode.allCases {
            var rules = RestartRules()
            let decision = rules.ended(code: code, started: 0, now: 1, isStopping: false, wasEverReady: true)
            let isFinal = [.usage, .corrupt, .ioError, .configuration].contains(code)
            #expect(decision == (isFinal ? .giveUp : .restart(afterMilliseconds: 0)), "\(code)")
            let stopped = rules.ended(code: code, started: 0, now: 1, isStopping: true, wasEverReady: true)
            #expect(stopped == (isFinal ? .giveUp : .stay), "\(code)")
        }
    }

    /// A consumer that is refused its shard: until it has lived well again, however it ends.
    @Test func whatTheOthersCanDoWithoutIsTriedAgain() {
        for code: ExitCode in [.corrupt, .ioError, .configuration] {
            var rules = RestartRules(canWait: true)
            func ended(_ code: ExitCode?, life: UInt64 = 1, isStopping: Bool = false, _ rules: inout RestartRules)
                -> RestartRules.Decision
            {
                rules.ended(code: code, started: 0, now: life, isStopping: isStopping, wasEverReady: false)
            }
            #expect(ended(code, &rules) == .refused(againAfterMilliseconds: 5_000))
            #expect(ended(.unavailable, &rules) == .refused(againAfterMilliseconds: 5_000))
            #expect(ended(nil, life: 9_999, &rules) == .refused(againAfterMilliseconds: 5_000))
            var stopped = rules
            #expect(ended(code, isStopping: true, &stopped) == .stay)
            #expect(ended(nil, life: 10_000, &rules) == .restart(afterMilliseconds: 0))
            #expect(ended(.usage, &rules) == .giveUp)
        }
    }

    /// A consumer of a new epoch whose port is taken must not end what has worked.
    @Test func whatIsStartedLaterEndsNobody() {
        for code: ExitCode in [.unavailable, .locked] {
            var late = RestartRules(canWait: true, isLate: true)
            let decision = late.ended(code: code, started: 0, now: 1, isStopping: false, wasEverReady: false)
            #expect(decision == .refused(againAfterMilliseconds: 5_000))
            var web = RestartRules(canWait: false, isLate: true)
            let other = web.ended(code: .unavailable, started: 0, now: 1, isStopping: false, wasEverReady: false)
            #expect(other == .giveUp)
        }
    }

    @Test func whatHasNeverWorkedIsTriedForFiveSeconds() {
        var rules = RestartRules()
        func ended(_ now: UInt64, _ rules: inout RestartRules) -> RestartRules.Decision {
            rules.ended(code: .locked, started: now - 1, now: now, isStopping: false, wasEverReady: false)
        }
        #expect(ended(100, &rules) == .restart(afterMilliseconds: 0))
        #expect(ended(5_099, &rules) == .restart(afterMilliseconds: 50))
        #expect(ended(5_100, &rules) == .giveUp)
    }

    /// An address that another program has, or a Redis for which the role has waited already.
    @Test func whatCannotBeHadIsTriedOnce() {
        var rules = RestartRules()
        func ended(_ wasEverReady: Bool) -> RestartRules.Decision {
            rules.ended(code: .unavailable, started: 0, now: 1, isStopping: false, wasEverReady: wasEverReady)
        }
        #expect(ended(false) == .giveUp)
        #expect(ended(true) == .restart(afterMilliseconds: 0))
    }
}

@Suite struct DrainPatienceTests {
    @Test func theLowestNumberCounts() {
        var patience = DrainPatience(now: 0)
        #expect(patience.saw(10, now: 0) == .wait)
        #expect(patience.saw(9, now: 29_000) == .wait)
        // More, unknown and the same are no progress.
        #expect(patience.saw(12, now: 40_000) == .wait)
        #expect(patience.saw(nil, now: 50_000) == .wait)
        #expect(patience.saw(9, now: 88_999) == .wait)
        #expect(patience.saw(9, now: 89_000) == .giveUp)
        #expect(patience.lowest == 9)
        #expect(patience.saw(8, now: 89_001) == .wait)
        #expect(patience.saw(0, now: 99_000) == .empty)
    }

    @Test func whoNeverAnswersIsGivenUp() {
        var patience = DrainPatience(now: 5)
        #expect(patience.saw(nil, now: 60_004) == .wait)
        #expect(patience.saw(nil, now: 60_005) == .giveUp)
        #expect(patience.lowest == nil)
    }
}

@Suite struct WordsTests {
    @Test func theLastTwentyLines() {
        var words = LastWords()
        for number in 1...21 { words.append("\(number)") }
        #expect(words.lines == (2...21).map(String.init))
        #expect(
            LostRole(
                code: .corrupt, sentence: "consumer 2 ended with code 65", lastWords: ["one", "two"], isTold: false
            ).failure.report
                == "tallymill: consumer 2 ended with code 65; its last words:\n  | one\n  | two")
        #expect(
            LostRole(code: .failure, sentence: "web ended with code 1", lastWords: [], isTold: true).failure.report
                == "tallymill: web ended with code 1, without a word")
        #expect(
            LostRole(code: .unavailable, sentence: "web ended with code 69", lastWords: ["why"], isTold: true)
                .failure.report
                == "tallymill: web ended with code 69; it has said why, above")
    }

    private func calling(_ program: String, _ dataFolder: String) -> GivenOptions {
        .none.fromAnywhere(calling: program, dataFolder: dataFolder)
    }

    @Test func theReadyText() {
        let text = ReadyText(
            partitions: 4, shownFolder: "./data", given: calling("/opt/tallymill", "/srv/my data"))
        #expect(
            text.text(address: "http://127.0.0.1:3333") == """
                tallymill is ready: http://127.0.0.1:3333, 4 partitions, data in ./data
                  curl -d 'key=hello&value=1' http://127.0.0.1:3333/increment
                  /opt/tallymill report --data-dir '/srv/my data'
                Ctrl-C drains and stops it.
                """)
        #expect(ReadyText.reachable("http://0.0.0.0:80") == "http://127.0.0.1:80")
        #expect(ReadyText.reachable("http://[::]:80") == "-g 'http://[::1]:80'")
        let several = "http://localhost:4711 (127.0.0.1:4711, [::1]:4711)"
        #expect(ReadyText.url(in: several) == "http://localhost:4711")
        #expect(RolePlans.port(of: several) == 4711)
        #expect(
            ReadyText(partitions: 1, shownFolder: "d", given: calling("t", "/d")).text(address: "a")
                .contains("1 partition,"))
        let guarded = ReadyText(
            partitions: 1, shownFolder: "d", given: calling("t", "/d"), demandsTokens: true)
        #expect(
            guarded.text(address: "http://h:1").contains(
                #"  curl -H "Authorization: Bearer $TOKEN" -d 'key=hello&value=1' http://h:1/increment"#))
    }

    @Test func shellWords() {
        #expect(ShellWord.quoted("/a/b-c_d.e+f1") == "/a/b-c_d.e+f1")
        #expect(ShellWord.quoted("") == "''")
        #expect(ShellWord.quoted("it's $HOME") == #"'it'\''s $HOME'"#)
        #expect(Programs.callName(of: "/nowhere/tallymill", environment: ["PATH": "/bin"]) == "/nowhere/tallymill")
        let shell = Programs.resolved("/bin/sh") ?? ""
        let name = shell.split(separator: "/").last.map(String.init)
        #expect(Programs.callName(of: shell, environment: ["PATH": "/nowhere:/bin"]) == name)
    }

    @Test func aMissingProgramNamesItsPackage() {
        let error = #expect(throws: Failure.self) {
            try Programs.find("redis-server", package: "redis-server", environment: ["PATH": "/nonexistent"])
        }
        #expect(
            error?.report == """
                tallymill: redis-server is not on PATH
                  `apt-get install redis-server` installs it. With --redis, a Redis that runs already is used.
                """)
        #expect(error?.code == .unavailable)
    }
}

@Suite struct RolePlansTests {
    private func plans(
        listen: String, adminPort: String? = nil, environment: [String: String], socket: String?
    ) throws -> RolePlans {
        var flags = ["listen": listen, "idempotency-retention": "1h", "log-level": "debug"]
        flags["admin-port"] = adminPort
        let settings = try Settings.resolve(command: .up, flags: flags, environment: environment, file: nil)
        return RolePlans(
            settings: settings, executable: "/opt/tallymill", dataFolder: "/data", socketPath: socket,
            logFormat: .json, environment: environment)
    }

    @Test func eachRoleGetsItsOwnSettings() throws {
        let given = [
            "PATH": "/bin", "NOTIFY_SOCKET": "/run/n", "STATE_DIRECTORY": "/state", "TALLYMILL_OUTBOX_BYTES": "2MiB",
            "TALLYMILL_PARTITIONS": "9", "TALLYMILL_REDIS": "redis://elsewhere:1",
        ]
        let plans = try plans(listen: "[::1]:0", environment: given, socket: "/data/up/redis.sock")
        let common = ParentDeath.variableForChildren.merging([
            "PATH": "/bin", "TALLYMILL_DATA_DIR": "/data", "TALLYMILL_LOG_LEVEL": "debug",
            "TALLYMILL_REDIS": "unix:///data/up/redis.sock", "TALLYMILL_IDEMPOTENCY_RETENTION": "1h",
            "TALLYMILL_LOG_FORMAT": "json",
        ]) { _, new in new }
        let consumer = try #require(plans.consumers(partitions: 2).last)
        #expect(consumer.name == "consumer 1")
        #expect(consumer.plan.executable == "/opt/tallymill")
        #expect(consumer.plan.arguments == ["consume", "--partitions", "1"])
        #expect(consumer.plan.environment == common)
        let web = plans.web()
        #expect(web.plan.arguments == ["web"])
        #expect(web.plan.environment["TALLYMILL_LISTEN"] == "[::1]:0")
        #expect(web.plan.environment["TALLYMILL_OUTBOX_BYTES"] == "2MiB")
        // The system chose; the next one takes the same.
        #expect(web.replan(web.plan, "http://[::1]:4567").environment["TALLYMILL_LISTEN"] == "[::1]:4567")
        #expect(web.replan(web.plan, "nonsense").environment["TALLYMILL_LISTEN"] == "[::1]:0")
    }

    @Test func anotherRedisAndAFixedPortStay() throws {
        let plans = try plans(
            listen: "127.0.0.1:80", environment: ["TALLYMILL_REDIS": "redis://elsewhere:1"], socket: nil)
        #expect(plans.consumers(partitions: 1).first?.plan.environment["TALLYMILL_REDIS"] == "redis://elsewhere:1")
        let web = plans.web()
        #expect(web.replan(web.plan, "http://127.0.0.1:81").environment["TALLYMILL_LISTEN"] == "127.0.0.1:80")
    }

    /// The admin ports of consumers are where they are by hand; 0 is for all.
    @Test func adminPorts() throws {
        let name = Setting.adminPort.variable
        for (given, ofWeb, ofConsumer) in [(nil, nil, nil), ("4711", "4711", nil), ("0", "0", "0")] {
            let plans = try plans(listen: "127.0.0.1:80", adminPort: given, environment: [:], socket: nil)
            #expect(plans.web().plan.environment[name] == ofWeb)
            for consumer in plans.consumers(partitions: 2) { #expect(consumer.plan.environment[name] == ofConsumer) }
        }
        #expect(
            try plans(listen: "127.0.0.1:0", environment: [:], socket: nil).web().plan.environment[name] == "0")
    }

    @Test func manyPartitionsShareProcesses() throws {
        let plans = try plans(listen: "127.0.0.1:80", environment: [:], socket: nil)
        for partitions in [1, 4, 16, 17, 100, 1024] {
            let roles = plans.consumers(partitions: partitions)
            #expect(roles.count == min(partitions, 16))
            var covered: [Int] = []
            for role in roles {
                let ends = try #require(role.plan.arguments.last).split(separator: "-").compactMap { Int($0) }
                covered += Array(ends[0]...(ends.last ?? ends[0]))
            }
            #expect(covered == Array(0..<partitions))
        }
    }
}
