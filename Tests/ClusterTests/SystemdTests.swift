// What roles tell systemd, heard on a socket of our own, and how they take a changed configuration. The units are
// tested on a booted systemd by deploy/test-services.

import ClusterSupport
import Glibc
import ServiceKit
import Testing

extension ClusterTests {
    @Suite struct SystemdTests {
        /// The socket that NOTIFY_SOCKET names, and everything that came through it.
        private final class Supervisor {
            let path: String
            private let descriptor: Int32
            private(set) var heard: [String] = []

            init(_ path: String) throws {
                self.path = path
                descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_NONBLOCK.rawValue), 0)
                let address = try #require(UnixAddress(path))
                try #require(address.withPointer { bind(descriptor, $0, $1) } == 0)
            }

            deinit { close(descriptor) }

            func listen() {
                var buffer = [UInt8](repeating: 0, count: 8_192)
                while true {
                    let length = recv(descriptor, &buffer, buffer.count, 0)
                    if length <= 0 { return }
                    heard.append(String(decoding: buffer[..<length], as: UTF8.self))
                }
            }

            func hears(_ part: String) -> Bool {
                listen()
                return heard.contains { $0.contains(part) }
            }
        }

        @Test func aConsumerIsReadyWhenItOwnsItsShard() throws {
            try ClusterTests.withPieces("notify-consumer", partitions: 1) { cluster in
                let supervisor = try Supervisor(cluster.folder.path + "/notify")
                _ = try cluster.redisCommand(["DEL", "tallymill:{e1.p0}:meta"])  // how many does not matter
                try cluster.startConsumer(
                    "0", environment: ["NOTIFY_SOCKET": supervisor.path, "WATCHDOG_USEC": "60000000"])
                try eventually("it says what it waits for", within: 20) {
                    supervisor.hears("STATUS=partition 0: waiting: the partition has no keys in Redis")
                }
                try eventually("the watchdog is fed all the same", within: 20) { supervisor.hears("WATCHDOG=1") }
                try eventually("systemd is asked for more time", within: 20) {
                    supervisor.hears("EXTEND_TIMEOUT_USEC=")
                }
                #expect(!supervisor.hears("READY=1"))
                let repair = try Command.tallymill(["repair", "--yes"] + cluster.place)
                #expect(repair.code == 0, "\(repair.errorText)")
                try eventually("it is ready", within: 20) { supervisor.hears("READY=1") }
                try eventually("it says how it does", within: 20) {
                    supervisor.hears("STATUS=partition 0: lag 0 ms, 0 keys, 0/s")
                }
                try cluster.consumers[0].send(SIGTERM)
                #expect(try cluster.consumers[0].waitForEnd(within: 20) == .code(0))
                #expect(supervisor.hears("STOPPING=1"))
                #expect(supervisor.heard.count { $0.contains("READY=1") } == 1)
            }
        }

        @Test func aRunningRoleTakesWhatCanChange() throws {
            try ClusterTests.withPieces("reload", partitions: 1) { cluster in
                let file = cluster.folder.path + "/t.conf"
                func write(_ lines: String...) throws {
                    try Files.write(Array(lines.map { "\($0)\n" }.joined().utf8), to: file)
                }
                try write("# empty")
                try cluster.startWeb(options: ["--config", file])
                try cluster.waitUntilReady(0)
                let web = cluster.webs[0]
                func reload(until text: String) throws {
                    try web.send(SIGHUP)
                    try eventually("the log says: \(text)", within: 20) { web.errorOutput.contains(text) }
                }
                try write("TALLYMILL_OUTBOX_BYTES=1MiB", "TALLYMILL_MAX_CONNECTIONS=7")
                try reload(until: "the configuration was read again changed=TALLYMILL_OUTBOX_BYTES")
                try eventually("what waits is named", within: 20) {
                    web.errorOutput.contains("some changes wait for a restart settings=TALLYMILL_MAX_CONNECTIONS")
                }
                try write("TALLYMILL_OUTBOX_BYTES=1GB")
                try reload(until: "the configuration is as before")
                #expect(web.errorOutput.contains("\(file):1: TALLYMILL_OUTBOX_BYTES is"))
                // A level that hides everything is the last thing that is heard, until another one is in force.
                try write("TALLYMILL_OUTBOX_BYTES=1MiB", "TALLYMILL_LOG_LEVEL=critical")
                try reload(until: "the configuration was read again changed=TALLYMILL_LOG_LEVEL")
                let heard = web.errorOutput
                try write("TALLYMILL_OUTBOX_BYTES=2MiB", "TALLYMILL_LOG_LEVEL=info")
                try web.send(SIGHUP)
                try eventually("the level is lower again", within: 20) { () throws(HarnessError) in
                    try web.send(SIGHUP)
                    return web.errorOutput.contains("was read again changed=nothing")
                }
                let rest = web.errorOutput.dropFirst(heard.count).split(separator: "\n")
                #expect(rest.allSatisfy { $0.contains("changed=nothing") }, "\(rest)")
            }
        }
    }
}
