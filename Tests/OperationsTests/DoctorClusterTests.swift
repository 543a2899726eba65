// What `doctor` finds in a cluster and on its host: shards that are gone or foreign, lists that nobody consumes,
// permissions that a careless hand has changed, disks, limits and units. Each is provoked, and gone once it is mended.

import Glibc
import RedisQueue
import ServiceKit
import ShardConsumer
import ShardStore
import TestSupport
import Testing

@testable import Operations
@testable import TallyCore

@Suite struct DoctorClusterTests {
    private let host = FakeHost()
    private let cluster: CountingCluster

    init() throws { cluster = try CountingCluster() }

    private func doctor(
        instances: Result<[ConsumerInstance], Failure> = .failure(Failure(.unavailable, "no systemd in this test")),
        _ change: (inout Doctor.Subject) -> Void = { _ in }
    ) -> Doctor {
        var subject = Doctor.Subject(folder: cluster.folder, access: .success(cluster.access), instances: instances)
        subject.host = host.facts
        change(&subject)
        return Doctor(subject)
    }

    private func lease(_ partition: UInt32, host: String) throws {
        let queue = PartitionQueue(
            connection: try cluster.server.connect(), names: cluster.access.names,
            partition: PartitionID(epoch: 1, number: partition))
        guard case .granted = try queue.claim(host: host, owner: "\(host):1", milliseconds: 60_000, topology: .ofTests)
        else {
            Issue.record("no lease for partition \(partition)")
            return
        }
    }

    // MARK: Shards

    @Test func aShardThatIsGone() throws {
        let path = cluster.path(2)
        for suffix in ["", "-wal", "-shm"] { rename(path + suffix, path + suffix + ".away") }
        #expect(
            doctor().found(.shards) == [
                "error: partition 2 has no shard here (\(path)), and nobody consumes it elsewhere",
                "$ tallymill restore BACKUP",
            ])
        // Another host has it.
        try lease(2, host: "web2")
        #expect(doctor().found(.shards) == [])
        #expect(doctor().seen(.shards) == "partitions 0-1,3 are here, 1 on other hosts")
    }

    @Test func aShardOfAnotherPlace() throws {
        let (path, other) = (cluster.path(1), cluster.path(3))
        for suffix in ["", "-wal", "-shm"] { Spawn.run("cp", other + suffix, path + suffix) }
        #expect(
            doctor().found(.shards) == ["error: \(path): its partition is 3, expected 1"])
    }

    @Test func aShardThatIsNotTheOneOfRedis() throws {
        let wrong = String(repeating: "ab", count: 16)
        try cluster.command("HSET", cluster.group(0).meta, "shard", wrong)
        let lines = doctor().found(.shards)
        #expect(lines.first?.hasPrefix("error: \(cluster.path(0)): it is shard ") == true)
        #expect(lines.first?.hasSuffix(", its list in Redis feeds \(wrong)") == true)
        #expect(lines.last == "$ tallymill verify")
        // The survey tells the same from the other side.
        #expect(doctor().found(.topology).first?.contains("partition 0 in Redis belongs to shard \(wrong)") == true)
    }

    @Test func aShardThatIsDamaged() throws {
        Spawn.run("sh", "-c", "rm '\(cluster.path(0))'* && echo nonsense > '\(cluster.path(0))'")
        let lines = doctor().found(.shards)
        #expect(lines.count == 1)
        #expect(lines.first?.contains("file is not a database") == true)
    }

    @Test func deadLetters() throws {
        let node = try CountingNode(cluster, id: 1)
        let key = cluster.keys(in: 0)[0]
        try node.post(["\(key)": .max])
        try cluster.consume()
        try node.post(["\(key)": 1])
        try cluster.consume()
        #expect(
            doctor().findings == [
                "warning: 1 dead letter holds what could not be counted", "$ tallymill dead-letters list",
            ])
    }

    /// What a shard had, and does not have any more: a node that has released it is refused.
    @Test func aShardThatIsBehind() throws {
        let node = try CountingNode(cluster, id: 1)
        let key = cluster.keys(in: 0)[0]
        try node.post(["\(key)": 1])
        try cluster.consume()
        node.fly()
        #expect(doctor().seen(.behind) == "no web node misses what a shard had")
        for name in [cluster.group(0).applied, cluster.group(0).seqs] { try cluster.command("DEL", name) }
        try node.post(["\(key)": 1])
        #expect(
            doctor().found(.behind) == [
                "error: partition 0: its shard seems to lack what it had of producer \(node.name), up to batch 1:"
                    + " web nodes refuse requests for it",
                "$ tallymill verify",
            ])
        // Its consumer has it, and says so.
        try cluster.consume()
    }

    // MARK: Topology and epochs

    @Test func whatRepairMends() throws {
        try cluster.command("DEL", cluster.access.names.topology)
        #expect(
            doctor().found(.topology) == [
                "error: Redis publishes no topology, the cluster file says epoch 1", "$ tallymill repair",
            ])
    }

    @Test func anInterruptedRebalance() throws {
        let file = try cluster.folder.clusterFile()
        let building = EpochChange(from: file, to: 6, id: nil).building
        try AtomicFile.write(Array(building.json.utf8), to: cluster.folder.clusterFilePath)
        #expect(
            doctor().found(.rebalance) == [
                "error: building epoch 2 was interrupted: consumers stand still, and the lists grow",
                "$ tallymill rebalance resume",
            ])
        for check in [DoctorCheck.Name.consumers, .topology, .shards, .units] {
            #expect(doctor().seen(check) == "skipped: the epoch is being built")
        }
        let lock = try cluster.folder.lockForChange()
        #expect(doctor().seen(.rebalance) == "process \(getpid()) is building epoch 2")
        withExtendedLifetime(lock) {}
    }

    @Test func anInterruptedInit() throws {
        var file = try cluster.folder.clusterFile()
        file.state = .building
        try AtomicFile.write(Array(file.json.utf8), to: cluster.folder.clusterFilePath)
        #expect(
            doctor().found(.rebalance) == [
                "error: `tallymill init` was interrupted",
                "$ tallymill init --partitions 4",
            ])
        #expect(doctor().seen(.shards) == "skipped: the epoch is being built")
    }

    @Test func noClusterFile() throws {
        unlink(cluster.folder.clusterFilePath)
        #expect(
            doctor().findings == [
                "warning: there is no cluster file in \(cluster.folder.path), and Redis publishes epoch 1 with 4"
                    + " partitions"
            ])
        // Which units belong here cannot be told then: none is called too many.
        let running = ConsumerInstance("0", isEnabled: true, activity: .active, detail: "running")
        #expect(
            doctor(instances: .success([running])).seen(.units) == "skipped: there is no cluster file to compare with")
        try AtomicFile.write(Array("{".utf8), to: cluster.folder.clusterFilePath)
        #expect(
            doctor().found(.clusterFile).first?.hasPrefix(
                "error: \(cluster.folder.clusterFilePath): this is no cluster file: ") == true)
        for check in [DoctorCheck.Name.rebalance, .shards] {
            #expect(doctor().seen(check) == "skipped: the cluster file cannot be read")
        }
    }

    // MARK: Consumers and lists

    @Test func batchesThatNobodyConsumes() throws {
        try CountingNode(cluster, id: 1).post(["\(cluster.keys(in: 1)[0])": 7])
        let lines = doctor().found(.consumers)
        #expect(lines.count == 4)
        #expect(lines[0].hasPrefix("error: partition 1: 1 batch waits ("))
        #expect(lines[0].hasSuffix(", and nobody consumes it"))
        #expect(lines[1] == "$ tallymill consume --partitions 1")
        #expect(lines[2] == "warning: partitions 0,2-3 have no consumer; nothing waits there yet")
        // Where systemd runs consumers, it starts them.
        let instances = [ConsumerInstance("0", isEnabled: true, activity: .active)]
        #expect(
            doctor(instances: .success(instances)).found(.consumers)[1]
                == "$ systemctl enable --now tallymill-consumer@1.service")
    }

    /// One that has a consumer, and is of 2023.
    @Test func batchesThatWaitTooLong() throws {
        try CountingNode(cluster, id: 1, isOfThePast: true).post(["\(cluster.keys(in: 1)[0])": 7])
        for partition in 0..<UInt32(4) { try lease(partition, host: "web2") }
        let lines = doctor().found(.queues)
        #expect(lines.first?.hasPrefix("warning: partition 1: the oldest batch waits for ") == true)
        #expect(lines.first?.hasSuffix(", with web2:1 at work") == true)
        let bytes = try #require(Int(String(decoding: bytesOfList(1), as: UTF8.self)))
        let full = doctor { $0.queueBytes = bytes }
        #expect(full.found(.queues).first?.hasPrefix("error: partition 1: its list holds \(bytes) B of") == true)
    }

    private func bytesOfList(_ partition: UInt32) throws -> [UInt8] {
        guard case .bytes(let bytes) = try cluster.command("HGET", cluster.group(partition).meta, "bytes") else {
            return []
        }
        return bytes
    }

    @Test func oneConsumerThatIsMissing() throws {
        for partition in [0, 1, 3] as [UInt32] { try lease(partition, host: "web2") }
        #expect(
            doctor().found(.consumers).first == "warning: partition 2 has no consumer; nothing waits there yet")
    }

    /// The lock is held here, the lease elsewhere.
    @Test func twoConsumersOfOnePartition() throws {
        for partition in 0..<UInt32(4) { try lease(partition, host: "web2") }
        let file = try cluster.folder.shard(1, of: cluster.topology).open()
        #expect(
            doctor().found(.consumers) == [
                "error: partition 1: process \(getpid()) has the shard here, web2:1 consumes the list",
                "$ kill \(getpid())",
            ])
        // The consumer here has the lease, as it names itself.
        try cluster.command(
            "HSET", cluster.group(1).meta, "host", "\(try Host.identity()) \(file.lockName)")
        #expect(doctor().found(.consumers) == [])
    }

    // MARK: Permissions

    private func expectMended(_ expected: String, by command: String) {
        let lines = doctor().found(.permissions)
        #expect(lines.first == expected)
        #expect(lines.dropFirst().first == "$ \(command)")
        Spawn.run("sh", "-c", command)
        #expect(doctor().found(.permissions) == [])
    }

    /// SQLite gives an empty log the mode of its shard whenever it opens one, so both are always found together.
    @Test func permissionsOfShards() throws {
        let (shard, epoch) = (cluster.path(1), cluster.folder.epochPath(1))
        let both = "\(shard) \(shard)-wal"
        #expect(doctor().found(.permissions) == [])
        chmod(shard, 0o642)
        expectMended("error: \(shard) and 1 more: everybody on this host may change it", by: "chmod o-w \(both)")
        chmod(shard, 0o660)
        expectMended(
            "warning: \(shard) and 1 more: the group may change it, only the consumer should", by: "chmod g-w \(both)")
        chmod(shard, 0o440)
        expectMended("error: \(shard) and 1 more: its owner may not read and write it", by: "chmod u+rw \(both)")
        // Many have one command.
        for number in 0..<UInt32(4) { chmod(cluster.path(number), 0o600) }
        expectMended(
            "warning: \(cluster.path(0)) and 7 more: the group may not read it, so reports by its members fail",
            by: "chmod g+rX \(epoch)/shard-*")
        // Readable by all counts only if all can come there.
        chmod(shard, 0o644)
        #expect(doctor().found(.permissions) == [])
        chmod(cluster.folder.path, 0o755)
        chmod(epoch, 0o755)
        expectMended(
            "warning: \(shard) and 1 more: everybody on this host may read the counts", by: "chmod o-rwx \(both)")
    }

    @Test func permissionsOfFolders() {
        let path = cluster.folder.path
        chmod(path, 0o700)
        expectMended(
            "warning: \(path): the group may not read it, so reports by its members fail", by: "chmod g+rX \(path)")
        chmod(path, 0o777)
        expectMended("error: \(path): everybody on this host may change it", by: "chmod o-w \(path)")
        chmod(cluster.folder.clusterFilePath, 0o646)
        expectMended(
            "error: \(cluster.folder.clusterFilePath): everybody on this host may change it",
            by: "chmod o-w \(cluster.folder.clusterFilePath)")
    }

    /// What `sudo` leaves behind.
    @Test func aFileOfRoot() throws {
        let system = host.facts.access
        let wal = cluster.path(3) + "-wal"
        host.facts.access = { path in
            var access = system(path)
            if path == wal { access?.user += 1 }
            return access
        }
        #expect(
            doctor().found(.permissions) == [
                "error: \(wal): not of the owner of the data folder",
                "$ chown --reference=\(cluster.folder.path) \(wal)",
            ])
    }

    @Test func secrets() {
        let files = ScratchFolder()
        let (config, password) = (files.write("TALLYMILL_REDIS=x\n", to: "conf"), files.write("x\n", to: "pass word"))
        chmod(config, 0o640)
        chmod(password, 0o604)
        let found = doctor {
            $0.secrets = [
                SecretFile(path: password, content: "the password of Redis"),
                SecretFile(path: config, content: "a URL with the password of Redis"),
            ]
        }
        #expect(
            found.findings == [
                "error: \(password) holds the password of Redis, and everybody on this host may read it",
                "$ chmod o-rwx '\(password)'",
            ])
        chmod(config, 0o642)
        chmod(password, 0o600)
        #expect(
            doctor { $0.secrets = [SecretFile(path: config, content: "a URL with the password of Redis")] }.findings[0]
                == "error: \(config) holds a URL with the password of Redis, and everybody on this host may change it")
    }

    // MARK: This host

    @Test func disks() {
        let path = cluster.folder.path
        host.facts.disk = { asked in
            HostFacts.Disk(totalBytes: 100 << 30, freeBytes: asked == path ? 5 << 30 : 50 << 30)
        }
        #expect(
            doctor().findings == [
                "warning: \(path): only 5.0 GiB of 100.0 GiB are free",
                "$ du -xh --max-depth=2 \(path) | sort -h | tail",
            ])
    }

    /// The longest mount point counts, and its name is written as the kernel does.
    @Test func fileSystems() {
        let root = "22 1 0:21 / / rw - ext4 /dev/sda1 rw\n"
        host.write(root + "23 22 0:22 / /tmp rw,nosuid shared:5 - tmpfs tmpfs rw\n", to: "proc/self/mountinfo")
        #expect(
            doctor().findings == [
                "warning: \(cluster.folder.path) is on tmpfs: what is counted is gone when the host restarts",
                "$ findmnt -T \(cluster.folder.path)",
            ])
        let own = cluster.folder.path.replacing("/tmp", with: #"\057tmp"#)
        host.write(root + "24 22 0:23 / \(own) rw - nfs4 server:/x rw\n", to: "proc/self/mountinfo")
        #expect(
            doctor().findings.first
                == "warning: \(cluster.folder.path) is on nfs4, over the network: SQLite's log needs a local disk")
        host.write(root + "25 22 0:23 / /tm rw - nfs4 server:/x rw\n", to: "proc/self/mountinfo")
        #expect(doctor().seen(.dataFileSystem) == "ext4")
        host.remove("proc/self/mountinfo")
        #expect(doctor().seen(.dataFileSystem)?.hasPrefix("skipped: the kernel does not tell") == true)
    }

    @Test func openFiles() {
        #expect(doctor().seen(.openFiles) == "1048576 for what is started from here, 21792 needed")
        host.run(4711, ["/usr/bin/tallymill", "web", "--listen", "127.0.0.1:1"], files: 4_096)
        host.run(4712, ["/usr/bin/tallymill", "consume"], files: 10)
        host.run(4713, ["/usr/bin/other", "web"], files: 10)
        #expect(
            doctor().findings == [
                "warning: web node of process 4711 may open 4096 files, and 20000 connections are allowed"
                    + " (--max-connections)",
                "$ systemctl edit 'tallymill-web@.service'",
            ])
        #expect(doctor { $0.connectionsMax = 2_304 }.seen(.openFiles) == "4096 for a web node, 4096 needed")
    }

    @Test func units() throws {
        func running(_ name: String) -> ConsumerInstance {
            ConsumerInstance(name, isEnabled: true, activity: .active, detail: "running")
        }
        let sound = (0..<4).map { running("\($0)") }
        #expect(
            doctor(instances: .success(sound)).seen(.units) == "consumers of partitions 0-3 are enabled and running")
        #expect(
            doctor(instances: .success([])).seen(.units) == "skipped: systemd runs no consumers on this host")
        #expect(
            doctor(instances: .success(sound + [running("7"), running("x")])).found(.units) == [
                "warning: tallymill-consumer@7.service is enabled and active: beyond the last partition, 3;"
                    + " tallymill-consumer@x.service is enabled and active: no partition has that name",
                "$ systemctl disable --now tallymill-consumer@7.service",
                "$ systemctl disable --now tallymill-consumer@x.service",
            ])
        #expect(
            doctor(instances: .success(Array(sound.dropLast()))).found(.units) == [
                "warning: tallymill-consumer@3.service: not enabled or not running, and the shard is here",
                "$ systemctl enable --now tallymill-consumer@3.service",
            ])
        let failed = ConsumerInstance("3", isEnabled: true, activity: .failed, detail: "failed")
        #expect(
            doctor(instances: .success(sound.dropLast() + [failed])).found(.units) == [
                "error: tallymill-consumer@3.service has failed", "$ journalctl -u tallymill-consumer@3.service -n 20",
                "$ systemctl reset-failed tallymill-consumer@3.service",
                "$ systemctl start tallymill-consumer@3.service",
            ])
        // A copy of a shard that another machine consumes needs no unit here.
        try lease(3, host: "web2")
        #expect(
            doctor(instances: .success(Array(sound.dropLast()))).seen(.units)
                == "consumers of partitions 0-2 are enabled and running")
        try cluster.command("HDEL", cluster.group(3).meta, "lease")
        // What is told as failed is not told as stopped, too.
        let two = doctor(instances: .success(sound.dropLast(2) + [failed])).found(.units)
        #expect(
            two.filter { !$0.hasPrefix("$ journalctl") } == [
                "error: tallymill-consumer@3.service has failed",
                "$ systemctl reset-failed tallymill-consumer@3.service",
                "$ systemctl start tallymill-consumer@3.service",
                "warning: tallymill-consumer@2.service: not enabled or not running, and the shard is here",
                "$ systemctl enable --now tallymill-consumer@2.service",
            ])
        let restarting = ConsumerInstance("3", isEnabled: true, activity: .activating, detail: "auto-restart")
        #expect(
            doctor(instances: .success(sound.dropLast() + [restarting])).found(.units) == [
                "error: tallymill-consumer@3.service ends again and again, and is started each time",
                "$ journalctl -u tallymill-consumer@3.service -n 20",
            ])
    }

    // MARK: As text

    @Test func howItReads() {
        let checks: [DoctorCheck] = [
            .ok(.redisVersion, "Redis 7.0.15"), .skipped(.units, "no systemd here"),
            .warning(.deadLetters, "1 dead letter", DoctorCheck.Mend("tallymill dead-letters list")),
            .error(.redisRole, "a \"replica\"", DoctorCheck.Mend("a", "b", advice: "Where the replica is.")),
        ]
        #expect(
            checks.map(\.text).joined() == """
                ok       redis-version: Redis 7.0.15
                skipped  units: no systemd here
                WARNING  dead-letters: 1 dead letter
                           $ tallymill dead-letters list
                ERROR    redis-role: a "replica"
                           $ a
                           $ b
                           Where the replica is.

                """)
        #expect(
            checks.map(\.json) == [
                #"{"check":"redis-version","outcome":"ok","what":"Redis 7.0.15"}"#,
                #"{"check":"units","outcome":"skipped","what":"no systemd here"}"#,
                #"{"check":"dead-letters","outcome":"warning","what":"1 dead letter","#
                    + #""commands":["tallymill dead-letters list"],"advice":null}"#,
                #"{"check":"redis-role","outcome":"error","what":"a \"replica\"","commands":["a","b"],"#
                    + #""advice":"Where the replica is."}"#,
            ])
    }

    /// Findings stand first, the sum last.
    @Test func theWhole() throws {
        chmod(cluster.path(0), 0o660)
        let doctor = doctor()
        #expect(doctor.text.hasPrefix("WARNING  permissions: \(cluster.path(0)) and 1 more: the group may change it"))
        #expect(doctor.text.hasSuffix("\n26 checks: 0 errors, 1 warning, 1 not made\n"))
        #expect(
            doctor.json.hasPrefix(#"{"errors":0,"warnings":1,"checks":[{"check":"redis-connection","outcome":"ok""#))
        #expect(doctor.exitCode == .partial)
        #expect(Set(doctor.checks.map(\.name)) == Set(DoctorCheck.Name.allCases))
    }
}
