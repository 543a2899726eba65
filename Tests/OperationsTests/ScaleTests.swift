// The consumers that systemd has, against the partitions that there are: which commands, in which order, and what is
// said where none can be given. systemd is a script here; a booted one is another test's.

import Glibc
import ServiceKit
import Testing

@testable import Operations
@testable import TallyCore

@Suite struct ScalePlanTests {
    private func plan(
        _ instances: [ConsumerInstance], wanted: [UInt32] = [0, 1, 2, 3], partitions: Int = 4
    ) -> ScalePlan {
        ScalePlan(instances, wanted: wanted, partitions: partitions)
    }

    private func running(_ name: String) -> ConsumerInstance {
        ConsumerInstance(name, isEnabled: true, activity: .active, detail: "running")
    }

    @Test func nothingToDo() {
        #expect(plan((0..<4).map { running("\($0)") }).steps.isEmpty)
        // It is on its way up.
        let starting = ConsumerInstance("1", isEnabled: true, activity: .activating, detail: "start")
        #expect(plan([running("0"), starting], wanted: [0, 1]).steps.isEmpty)
        // Neither enabled nor running: only ever looked at.
        #expect(plan([ConsumerInstance("9", isEnabled: false)], wanted: []).steps.isEmpty)
    }

    @Test func whatIsTooManyGoesFirst() {
        let plan = plan([running("0"), running("1"), running("2"), running("5")], wanted: [0, 1, 3])
        #expect(
            plan.steps.map(\.command) == [
                "systemctl disable --now tallymill-consumer@2.service",
                "systemctl disable --now tallymill-consumer@5.service",
                "systemctl enable --now tallymill-consumer@3.service",
            ])
        #expect(
            plan.notices == [
                "tallymill-consumer@2.service is enabled and active: not among the partitions of this host",
                "tallymill-consumer@5.service is enabled and active: beyond the last partition, 3",
            ])
    }

    @Test func whatHasFailedIsForgiven() {
        let plan = plan(
            [
                ConsumerInstance("0", isEnabled: true, activity: .failed, detail: "failed"),
                ConsumerInstance("4", isEnabled: false, activity: .failed, detail: "failed"),
                ConsumerInstance("5", isEnabled: true, activity: .failed, detail: "failed"),
            ], wanted: [0])
        #expect(
            plan.steps.map(\.command) == [
                "systemctl reset-failed tallymill-consumer@4.service",
                "systemctl reset-failed tallymill-consumer@5.service",
                "systemctl disable --now tallymill-consumer@5.service",
                "systemctl reset-failed tallymill-consumer@0.service",
                "systemctl enable --now tallymill-consumer@0.service",
            ])
    }

    /// `03` would consume partition 3 beside `3`; a name from a typing error never runs.
    @Test func namesThatAreNoPartition() {
        let plan = plan([running("3"), running("03"), running("x"), running(#"a\x2db"#)], wanted: [3])
        #expect(
            plan.steps.map(\.command) == [
                "systemctl disable --now tallymill-consumer@03.service",
                "systemctl disable --now tallymill-consumer@x.service",
                #"systemctl disable --now 'tallymill-consumer@a\x2db.service'"#,
            ])
        #expect(plan.notices[1] == "tallymill-consumer@x.service is enabled and active: no partition has that name")
    }

    @Test func enabledOrRunningAlone() {
        let stopped = ConsumerInstance("0", isEnabled: true)
        let byHand = ConsumerInstance("1", isEnabled: false, activity: .active, detail: "running")
        let ending = ConsumerInstance("8", isEnabled: false, activity: .deactivating, detail: "stop-sigterm")
        #expect(
            plan([stopped, byHand, ending], wanted: [0, 1]).steps.map(\.arguments) == [
                ["disable", "--now", "tallymill-consumer@8.service"],
                ["enable", "--now", "tallymill-consumer@0.service"],
                ["enable", "--now", "tallymill-consumer@1.service"],
            ])
    }

    /// Lines as systemd 252 prints them, and with the marks of those before it.
    @Test func whatSystemdPrints() {
        let lines = [
            "tallymill-consumer@10.service loaded active     running      Tallymill consumer of partition 10",
            "  tallymill-consumer@2.service  loaded failed     failed       Tallymill consumer of partition 2",
            "● tallymill-consumer@1.service not-found inactive dead tallymill-consumer@1.service",
            "tallymill-consumer@0.service loaded activating auto-restart Tallymill",
            "tallymill-consumer@4.service loaded maintenance held x",
            "tallymill-web@3333.service loaded active running x",
            "", "0 loaded units listed.",
        ]
        let found = ConsumerInstance.merge(loaded: lines, enabled: ["2", "7", "x"])
        #expect(found.map(\.name) == ["0", "1", "2", "4", "7", "10", "x"])
        #expect(found.map(\.isEnabled) == [false, false, true, false, true, false, true])
        #expect(found.map(\.activity) == [.activating, .inactive, .failed, .other, .inactive, .active, .inactive])
        #expect(found[0].detail == "auto-restart")
    }

    @Test func wordsOfAShell() {
        let words = ["a", "/x/y-z_1.b@2", "a b", "it's", "", "$HOME"]
        #expect(
            words.map { ShellWord.quoted($0) } == ["a", "/x/y-z_1.b@2", "'a b'", #"'it'\''s'"#, "''", "'$HOME'"])
    }
}

@Suite struct ScaleTests {
    private let systemctl = FakeSystemctl()
    private let data = ScratchFolder()

    private func write(_ state: ClusterFile.State, partitions: Int, earlier: [ClusterFile.Epoch] = []) {
        let topology = Topology(
            cluster: ClusterID(Bytes16(high: 1, low: 2)), epoch: UInt32(earlier.count + 1), partitions: partitions)
        data.write(ClusterFile(topology: topology, state: state, earlier: earlier).json, to: "topology.json")
    }

    private func look(_ list: String? = nil) throws(Failure) -> Scale {
        try Scale(DataFolder(data.path), list: list, try systemctl.make()) { () throws(Failure) in
            throw Failure(.unavailable, "no Redis in this test")
        }
    }

    /// From four partitions to eight, as after a rebalance, and nothing is due after that.
    @Test func fromFourToEight() throws {
        write(.ready, partitions: 8, earlier: [ClusterFile.Epoch(epoch: 1, partitions: 4)])
        for number in 0..<4 {
            systemctl.link("\(number)")
            try systemctl.load("\(number)", "inactive dead")
        }
        let scale = try look()
        #expect(scale.summary == "epoch 2, partitions 0-7 of 8: 8 to start, 0 to stop")
        var told: [String] = []
        try scale.apply(try systemctl.make()) { step, words in told.append("\(step.unit) \(words ?? "done")") }
        #expect(told == (0..<8).map { "tallymill-consumer@\($0).service done" })
        #expect(try systemctl.commands() == (0..<8).map { "enable --now tallymill-consumer@\($0).service" })
        let after = try look()
        #expect(after.plan.steps.isEmpty && after.plan.notices.isEmpty)
        #expect(
            after.summary == "epoch 2, partitions 0-7 of 8: every consumer is enabled and running, none is too many")
    }

    @Test func fromEightToTwoOfThem() throws {
        write(.ready, partitions: 4)
        for number in 0..<8 {
            systemctl.link("\(number)")
            try systemctl.load("\(number)", "active running")
        }
        let scale = try look("1,3")
        #expect(scale.summary == "epoch 1, partitions 1,3 of 4: 0 to start, 6 to stop")
        #expect(scale.notices.last?.hasPrefix("partitions 1,3 have no shard in the data folder: ") == true)
        try scale.apply(try systemctl.make()) { _, words in #expect(words == nil) }
        #expect(try look("1,3").plan.steps.isEmpty)
    }

    /// It stops at the first that fails, and a look afterwards shows what is left.
    @Test func aCommandThatFails() throws {
        write(.ready, partitions: 3)
        systemctl.breakUnit("1")
        let scale = try look()
        var outcomes: [String?] = []
        let failure = failure { () throws(Failure) in
            try scale.apply(try systemctl.make()) { _, words in outcomes.append(words) }
        }
        #expect(outcomes == [nil, "Job for tallymill-consumer@1.service failed."])
        #expect(failure?.code == .failure)
        #expect(
            failure?.report == """
                tallymill: `systemctl enable --now tallymill-consumer@1.service` ended with code 1: Job for \
                tallymill-consumer@1.service failed.
                  1 more was not run. `journalctl -u tallymill-consumer@1.service -n 20` says more; then run this \
                again.
                """)
        #expect(try look().plan.steps.map(\.unit) == ["tallymill-consumer@1.service", "tallymill-consumer@2.service"])
        let json = scale.json(outcomes)
        #expect(
            json.hasPrefix(#"{"epoch":1,"partitions":3,"wanted":[0,1,2],"applied":true,"instances":[],"notices":["#))
        #expect(
            json.hasSuffix(
                #""commands":[{"command":"systemctl enable --now tallymill-consumer@0.service","outcome":"done"},"#
                    + #"{"command":"systemctl enable --now tallymill-consumer@1.service","outcome":"Job for "#
                    + #"tallymill-consumer@1.service failed."},"#
                    + #"{"command":"systemctl enable --now tallymill-consumer@2.service","outcome":null}]}"#))
    }

    /// Links that were made are no part of what went wrong; and who may not is told so.
    @Test func whatSystemctlSays() throws {
        write(.ready, partitions: 1)
        let scale = try look()
        systemctl.install("echo 'Created symlink a -> b.' >&2; echo 'Job failed.' >&2; echo 'See c.' >&2; exit 1")
        let failed = failure { () throws(Failure) in try scale.apply(try systemctl.make()) { _, _ in } }
        #expect(failed?.what.hasSuffix("` ended with code 1: Job failed. See c.") == true)
        #expect(failed?.advice?.hasPrefix("It was the last command. `journalctl -u ") == true)
        systemctl.install("echo 'Failed to enable unit: Interactive authentication required.' >&2; exit 1")
        let denied = failure { () throws(Failure) in try scale.apply(try systemctl.make()) { _, _ in } }
        #expect(denied?.advice == "It was the last command. Run this as root.")
    }

    @Test func whatItRefuses() throws {
        let building = failure { () throws(Failure) in
            write(.building, partitions: 8, earlier: [ClusterFile.Epoch(epoch: 1, partitions: 4)])
            _ = try look()
        }
        #expect(building?.code == .configuration)
        #expect(
            building?.sentence == "\(data.path)/topology.json: epoch 2 with 8 partitions is still being built")
        #expect(building?.advice?.hasPrefix("`tallymill rebalance status` shows how far it is") == true)
        write(.ready, partitions: 4)
        #expect(failure { () throws(Failure) in _ = try look("0-4") }?.code == .configuration)
        #expect(failure { () throws(Failure) in _ = try look("x") }?.code == .usage)
        systemctl.removeTemplate()
        let uninstalled = failure { () throws(Failure) in _ = try look() }
        #expect(uninstalled?.code == .configuration)
        #expect(uninstalled?.what == "systemd has no tallymill-consumer@.service here")
    }

    @Test func withoutSystemd() throws {
        write(.ready, partitions: 4)
        systemctl.install(
            """
            echo "System has not been booted with systemd as init system (PID 1). Can't operate." >&2
            echo "Failed to connect to bus: Host is down" >&2
            exit 1
            """)
        let dead = failure { () throws(Failure) in _ = try look() }
        #expect(dead?.code == .unavailable && dead?.what == "systemd does not run here")
        #expect(dead?.advice?.hasPrefix("Units need systemd. Without it `tallymill up` runs a whole cluster") == true)
        let absent = failure { () throws(Failure) in _ = try Systemctl(environment: ["PATH": data.path]) }
        #expect(absent?.code == .unavailable)
        #expect(absent?.what == "there is no systemctl along PATH, so no systemd here")
        systemctl.install("echo 'Access denied' >&2; exit 4")
        let denied = failure { () throws(Failure) in _ = try look() }
        #expect(denied?.code == .failure)
        #expect(denied?.what == "`systemctl show --property=UnitPath --value` ended with code 4: Access denied")
    }
}

@Suite struct ScaleWithoutClusterFileTests {
    /// A host that is prepared before its data folder has come: Redis says how many there are.
    @Test func theTopologyOfRedis() throws {
        let cluster = try TestCluster(partitions: 3)
        let (systemctl, empty) = (FakeSystemctl(), ScratchFolder())
        let scale = try Scale(DataFolder(empty.path), list: nil, try systemctl.make()) { () throws(Failure) in
            cluster.access
        }
        #expect(scale.topology == (try cluster.topology))
        #expect(scale.plan.steps.count == 3 && scale.notices.isEmpty)
        try cluster.redis("DEL", "test:topology")
        let failure = failure { () throws(Failure) in
            _ = try Scale(DataFolder(empty.path), list: nil, try systemctl.make()) { () throws(Failure) in
                cluster.access
            }
        }
        #expect(failure?.sentence == "there is no cluster, neither in \(empty.path) nor in Redis")
    }
}
