// What `doctor` finds in a Redis: a real one with wrong settings, one that is down, hangs or loads, and what only shows
// in its own words.

import ClusterSupport
import Glibc
import RedisQueue
import ServiceKit
import TestSupport
import Testing

@testable import Operations
@testable import TallyCore

@Suite struct DoctorRedisTests {
    private let host = FakeHost()

    private func doctor(_ cluster: CountingCluster) -> Doctor {
        var subject = Doctor.Subject(
            folder: cluster.folder, access: .success(cluster.access),
            instances: .failure(Failure(.unavailable, "no systemd in this test")))
        subject.host = host.facts
        return Doctor(subject)
    }

    @Test func aSoundRedis() throws {
        let doctor = doctor(try CountingCluster())
        #expect(doctor.findings == [])
        #expect(doctor.exitCode == .ok)
        #expect(doctor.seen(.redisPersistence) == "appendonly yes, appendfsync always")
        #expect(doctor.seen(.redisEviction) == "noeviction")
        #expect(doctor.seen(.redisFunctions) == "revision \(FunctionLibrary.revision)")
        #expect(doctor.seen(.redisOvercommit) == "vm.overcommit_memory = 1")
        #expect(doctor.seen(.clock)?.hasPrefix("Redis and this host differ by") == true)
        #expect(doctor.seen(.units) == "skipped: no systemd in this test")
        #expect(doctor.summary == "26 checks: 0 errors, 0 warnings, 1 not made")
    }

    /// The settings go wrong after `init`, which would refuse them.
    @Test func wrongSettings() throws {
        let server = try RedisServer()
        let cluster = try CountingCluster(on: server)
        for (name, value) in [
            ("appendfsync", "everysec"), ("maxmemory-policy", "allkeys-lru"), ("maxmemory", "1gb"),
        ] { try cluster.command("CONFIG", "SET", name, value) }
        let cli = "$ redis-cli -s \(server.socket)"
        let first = doctor(cluster)
        #expect(first.exitCode == .partial)
        #expect(
            first.found(.redisPersistence) == [
                "error: it confirms writes before they are on disk (appendfsync everysec)",
                "\(cli) CONFIG SET appendfsync always", "\(cli) CONFIG REWRITE",
            ])
        #expect(
            first.found(.redisEviction) == [
                "error: it deletes keys when memory runs short (maxmemory-policy allkeys-lru), and counts with them",
                "\(cli) CONFIG SET maxmemory-policy noeviction", "\(cli) CONFIG REWRITE",
            ])
        #expect(first.found(.redisMemory) == [])
        try cluster.command("CONFIG", "SET", "appendfsync", "always")
        try cluster.command("CONFIG", "SET", "no-appendfsync-on-rewrite", "yes")
        let third = doctor(cluster)
        #expect(
            third.found(.redisPersistence) == [
                "error: it confirms writes before they are on disk while it rewrites its file"
                    + " (no-appendfsync-on-rewrite yes)",
                "\(cli) CONFIG SET no-appendfsync-on-rewrite no", "\(cli) CONFIG REWRITE",
            ])
        try cluster.command("CONFIG", "SET", "maxmemory", "512mb")
        try cluster.command("CONFIG", "SET", "appendonly", "no")
        let second = doctor(cluster)
        #expect(
            second.found(.redisMemory).first == "warning: the lists may hold 1.0 GiB, more than its maxmemory"
                + " (512.0 MiB): it would run out before web nodes refuse")
        #expect(
            second.found(.redisPersistence).first
                == "error: it does not log writes (appendonly no): a restart loses what was acknowledged")
        // What it prints is what mends it.
        let lines = first.findings + second.findings + third.findings
        for line in lines where line.hasPrefix("$ ") && line.contains("CONFIG SET") {
            Spawn.run("sh", "-c", String(line.dropFirst(2)))
        }
        #expect(doctor(cluster).findings == [])
    }

    @Test func functionsThatAreGone() throws {
        let cluster = try CountingCluster(on: try RedisServer())
        try cluster.command("FUNCTION", "FLUSH")
        let doctor = doctor(cluster)
        #expect(
            doctor.findings == ["error: the functions of tallymill are not loaded", "$ tallymill repair"])
        #expect(doctor.seen(.topology) == "skipped: the functions are not loaded in Redis")
        #expect(doctor.seen(.queues) == "skipped: Redis cannot be asked")
    }

    @Test func aReplica() throws {
        let cluster = try CountingCluster(on: try RedisServer())
        // Nobody answers there; a replica keeps what it has.
        try cluster.command("REPLICAOF", "127.0.0.1", "1")
        #expect(
            doctor(cluster).found(.redisRole) == [
                "error: this Redis is a replica of 127.0.0.1:1 and takes no writes",
                "$ redis-cli -s \(cluster.server.socket) REPLICAOF NO ONE",
            ])
        try cluster.command("REPLICAOF", "NO", "ONE")
    }

    /// What is no single Redis is called by its name, and nothing else is advised.
    private func stranger(_ server: RedisServer) throws -> Doctor {
        let folder = ScratchFolder()
        var subject = Doctor.Subject(
            folder: DataFolder(folder.path), access: .success(try .test(server, namespace: "stranger")),
            instances: .failure(Failure(.unavailable, "no systemd in this test")))
        subject.host = host.facts
        return Doctor(subject)
    }

    @Test func aNodeOfACluster() throws {
        let server = try RedisServer(["--cluster-enabled", "yes", "--cluster-port", "\(try RedisServer.freePort())"])
        let doctor = try stranger(server)
        #expect(
            doctor.found(.redisRole) == ["error: \(ServerProblem.cluster)", "$ redis-cli -s \(server.socket) INFO"])
        #expect(doctor.found(.redisFunctions) == [] && doctor.found(.topology) == [])
        #expect(doctor.seen(.redisFunctions) == "skipped: this is no single Redis")
    }

    /// Of the same program, with another purpose: it takes a configuration file of its own.
    @Test func aSentinel() throws {
        let folder = try TestFolder("sentinel")
        defer { folder.remove() }
        let (socket, file) = ("\(folder.path)/s.sock", "\(folder.path)/sentinel.conf")
        let text = "port 0\nunixsocket \(socket)\ndir \(folder.path)\nsentinel monitor mine 127.0.0.1 7 1\n"
        try Files.write(Array(text.utf8), to: file)
        let process = try RunningProcess(
            TestEnvironment.program("redis-server"), [file, "--sentinel"], log: "\(folder.path)/log")
        defer { try? process.kill9() }  // it ends with the test run anyway
        var subject = Doctor.Subject(
            folder: DataFolder(folder.path + "/data"),
            access: .success(
                try RedisAccess(
                    url: "unix://\(socket)", passwordFile: nil, namespace: "n", clientName: "test",
                    allowVolatile: false)),
            instances: .failure(Failure(.unavailable, "no systemd in this test")))
        subject.host = host.facts
        var doctor = Doctor(subject)
        #expect(
            waitUntil {
                doctor = Doctor(subject)
                return doctor.seen(.redisConnection) != nil
            })
        #expect(
            doctor.found(.redisRole) == [
                "error: \(ServerProblem.sentinel(primary: "127.0.0.1:7"))", "$ redis-cli -s \(socket) INFO",
            ])
        #expect(doctor.found(.redisPersistence) == [] && doctor.found(.redisFunctions) == [])
    }

    @Test func aServerWithoutConfig() throws {
        let server = try RedisServer(["--rename-command", "CONFIG", ""])
        let doctor = try stranger(server)
        #expect(
            doctor.found(.redisPersistence) == ["error: appendfsync cannot be read: there is no command CONFIG"])
        #expect(doctor.text.contains("Take `rename-command CONFIG` out of redis.conf and restart Redis"))
        #expect(!doctor.text.contains("ACL SETUSER"))
    }

    @Test func nobodyAnswers() throws {
        let server = try RedisServer()
        let cluster = try CountingCluster(on: server)
        server.kill()
        let doctor = doctor(cluster)
        #expect(doctor.exitCode == .partial)
        let lines = doctor.found(.redisConnection)
        #expect(lines.first?.hasPrefix("error: cannot reach Redis at unix://\(server.socket)") == true)
        #expect(lines.last == "$ redis-cli -s \(server.socket) PING")
        #expect(doctor.seen(.redisVersion) == "skipped: Redis does not answer")
        // The files are looked at all the same.
        #expect(doctor.seen(.shards) == "partitions 0-3 are here")
        #expect(doctor.seen(.permissions) == "one owner, who alone may write; the group may read")
    }

    /// Without a way to Redis at all, such as a password file that is not there.
    @Test func noWay() throws {
        let empty = ScratchFolder()
        var subject = Doctor.Subject(
            folder: DataFolder(empty.path),
            access: .failure(Failure(.configuration, "cannot read /none: No such file or directory", at: "--redis")),
            instances: .failure(Failure(.unavailable, "no systemd in this test")))
        subject.host = host.facts
        let doctor = Doctor(subject)
        #expect(
            doctor.findings == [
                "error: --redis: cannot read /none: No such file or directory",
                "error: there is no cluster in \(empty.path)",
                "$ tallymill init --partitions 4",
            ])
        #expect(doctor.seen(.redisDisk) == "skipped: the way to Redis is not known")
    }

    /// The Redis of an `up` is gone with it, and commands look at the usual port.
    @Test func noUp() {
        let folder = ScratchFolder()
        let url = RedisURL(address: .tcp(host: "127.0.0.1", port: RedisURL.portDefault))
        func lines() -> [String] {
            RedisSide.unreachable(.unreachable("\(url): refused"), url, DataFolder(folder.path)).lines
        }
        let what = "error: cannot reach Redis at redis://127.0.0.1:6379: refused"
        #expect(lines() == [what, "$ redis-cli -h 127.0.0.1 -p 6379 PING"])
        mkdir("\(folder.path)/up", 0o755)
        #expect(lines() == [what, "$ tallymill up"])
    }

    // MARK: In its own words

    private func checks(
        _ info: String, settings: [String: String]? = ["appendonly": "yes", "appendfsync": "always"],
        revision: Int? = FunctionLibrary.revision, ahead: Int64 = 0, volatile: Bool = false
    ) -> [String] {
        let sound = ["redis_version:7.0.15", "role:master", "aof_enabled:1", "maxmemory_policy:noeviction"]
        let reading = RedisReading(
            info: ServerInfo(text: (sound + [info]).joined(separator: "\r\n")), settings: settings, revision: revision,
            clockAheadMilliseconds: ahead)
        return RedisChecks(
            reading: reading, url: RedisURL(address: .tcp(host: "10.0.0.1", port: 6380), user: "tally"),
            allowVolatile: volatile, queuesBytesMax: 1 << 30
        ).all.flatMap(\.lines)
    }

    @Test func versionAndMode() {
        #expect(checks("") == [])
        #expect(
            checks("redis_version:6.2.14") == [
                "error: Redis 6.2.14 has no functions: 7.0 is needed", "$ apt-get install redis-server",
            ])
        #expect(
            checks("min_slaves_good_slaves:0").first
                == "error: \(ServerProblem.lacksReplicas(0, of: 1))")
        #expect(
            checks("", revision: 1).first
                == "error: the functions have revision 1, this release needs \(FunctionLibrary.revision)")
    }

    @Test func failedWrites() {
        let cli = "$ redis-cli -h 10.0.0.1 -p 6380 --user tally"
        #expect(
            checks("aof_last_write_status:err") == [
                "error: its last write to the append-only file failed, and it refuses new ones",
                "\(cli) INFO persistence",
            ])
        #expect(
            checks("aof_last_bgrewrite_status:err") == [
                "warning: its last rewrite of the append-only file failed: the file grows without end",
                "\(cli) BGREWRITEAOF",
            ])
        #expect(
            checks("rdb_last_bgsave_status:err") == ["warning: its last snapshot failed", "\(cli) BGSAVE"])
        let saving = ["appendonly": "yes", "appendfsync": "always", "save": "3600 1"]
        #expect(
            checks("rdb_last_bgsave_status:err", settings: saving).first
                == "error: its last snapshot failed, and it refuses writes until one succeeds")
    }

    @Test func memory() {
        let mib = 1 << 20
        #expect(
            checks("used_memory:\(900 * mib)\r\nmaxmemory:\(1_024 * mib)\r\ntotal_system_memory:\(4_096 * mib)") == [
                "error: it uses 900.0 MiB, over 80% of the 1.0 GiB that are its maxmemory",
                "$ redis-cli -h 10.0.0.1 -p 6380 --user tally CONFIG SET maxmemory \(2_405 * mib)",
                "$ redis-cli -h 10.0.0.1 -p 6380 --user tally CONFIG REWRITE",
            ])
        #expect(
            checks("used_memory:\(mib)\r\nmaxmemory:0\r\ntotal_system_memory:\(512 * mib)") == [
                "warning: the lists may hold 1.0 GiB, more than its host has (512.0 MiB): it would run out before web"
                    + " nodes refuse"
            ])
        #expect(
            checks("used_memory:\(500 * mib)\r\nmaxmemory:0\r\ntotal_system_memory:\(512 * mib)").first
                == "error: it uses 500.0 MiB, over 80% of the 512.0 MiB that its host has")
        #expect(
            checks("used_memory:\(mib)\r\nmaxmemory:\(8_192 * mib)\r\ntotal_system_memory:\(4_096 * mib)").first
                == "warning: its maxmemory, 8.0 GiB, is more than its host has, 4.0 GiB")
    }

    @Test func whatMayNotBeRead() {
        #expect(
            checks("", settings: nil) == [
                "error: appendfsync cannot be read",
                "$ redis-cli -h 10.0.0.1 -p 6380 --user tally ACL SETUSER tally +info '+config|get'",
            ])
        #expect(checks("aof_enabled:0", settings: nil, volatile: true) == [])
    }

    @Test func clocks() {
        #expect(checks("", ahead: 1_000) == [] && checks("", ahead: -1_000) == [])
        #expect(
            checks("", ahead: 1_001) == [
                "warning: the clock of Redis is 1.0 s ahead of this host's", "$ timedatectl set-ntp true",
            ])
        #expect(checks("", ahead: -30_000).first == "warning: the clock of Redis is 30.0 s behind this host's")
        #expect(checks("", ahead: -30_001).first == "error: the clock of Redis is 30.0 s behind this host's")
    }

    /// The same against a real server, whose clock is right and this host's is not.
    @Test func aHostInThePast() throws {
        let cluster = try CountingCluster()
        host.facts.wallClock = { WallClock.milliseconds() - 90_000 }
        let lines = doctor(cluster).found(.clock)
        #expect(lines.first?.hasPrefix("error: the clock of Redis is 1 m 30 s ahead of this host's") == true)
    }

    // MARK: The machine below it

    private func below(_ address: RedisURL.Address = .unix(path: "/x"), dir: String? = "/var/lib/redis") -> [String] {
        let reading = RedisReading(
            info: ServerInfo(text: "aof_current_size:\(10 << 30)"), settings: dir.map { ["dir": $0] } ?? [:],
            revision: nil, clockAheadMilliseconds: 0)
        return RedisHostChecks(reading: reading, url: RedisURL(address: address), host: host.facts).all.flatMap(\.lines)
    }

    @Test func theKernel() {
        #expect(below() == [])
        host.write("0\n", to: "proc/sys/vm/overcommit_memory")
        host.write("[always] madvise never\n", to: "sys/kernel/mm/transparent_hugepage/enabled")
        #expect(
            below() == [
                "warning: vm.overcommit_memory is 0: Redis may fail to fork when it rewrites its file, and then refuse"
                    + " writes",
                "$ echo vm.overcommit_memory=1 > /etc/sysctl.d/60-tallymill.conf",
                "$ sysctl -p /etc/sysctl.d/60-tallymill.conf",
                "warning: transparent huge pages are on for every process: Redis stalls and copies more while it"
                    + " rewrites its file",
                "$ echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
            ])
        // Somewhere else, this host's kernel does not matter.
        #expect(below(.tcp(host: "10.0.0.1", port: 6379)) == [])
        #expect(below(.tcp(host: "127.0.0.1", port: 6379)).count == 5)
    }

    @Test func itsDisk() {
        host.facts.disk = { _ in HostFacts.Disk(totalBytes: 40 << 30, freeBytes: 9 << 30) }
        #expect(
            below() == [
                "warning: /var/lib/redis: a rewrite of its append-only file needs 10.0 GiB, 9.0 GiB of 40.0 GiB are"
                    + " free",
                "$ du -xh --max-depth=2 /var/lib/redis | sort -h | tail",
            ])
        host.facts.disk = { _ in HostFacts.Disk(totalBytes: 40 << 30, freeBytes: 3 << 30) }
        #expect(below().first == "warning: /var/lib/redis: only 3.0 GiB of 40.0 GiB are free")
        host.facts.disk = { _ in HostFacts.Disk(totalBytes: 40 << 30, freeBytes: 0, freeFiles: 0) }
        #expect(
            below().filter { !$0.hasPrefix("$") } == [
                "error: /var/lib/redis: the disk is full",
                "error: /var/lib/redis: only 0 more files can be made on this disk",
            ])
        host.facts.disk = { path throws(Failure) in throw Failure(.ioError, "cannot look at the disk", at: path) }
        #expect(below() == [])
    }
}
