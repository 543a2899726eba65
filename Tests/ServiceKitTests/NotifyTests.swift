// The supervisor's protocol over a real datagram socket, with a path and with an abstract name.

import Glibc
import Testing

@testable import ServiceKit

@Suite struct NotifyTests {
    /// A bound socket, as the supervisor has it.
    private final class Supervisor {
        let descriptor: Int32

        init(_ name: String) throws {
            descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
            let address = try #require(UnixAddress(name))
            try #require(address.withPointer { bind(descriptor, $0, $1) } == 0)
        }

        deinit { close(descriptor) }

        func next() throws -> String {
            guard case .done(true) = SystemCall.waitReadable(descriptor, timeoutMilliseconds: 20_000) else { return "" }
            var buffer = [UInt8](repeating: 0, count: 4096)
            let length = recv(descriptor, &buffer, buffer.count, 0)
            return String(decoding: buffer[..<max(0, length)], as: UTF8.self)
        }
    }

    @Test func everyMessage() throws {
        try withFolder { folder in
            let supervisor = try Supervisor("\(folder)/notify")
            let notify = Notify(environment: ["NOTIFY_SOCKET": "\(folder)/notify"])
            try notify.ready(status: "listening")
            #expect(try supervisor.next() == "READY=1\nSTATUS=listening")
            try notify.status("lag 0.2 s\nREADY=1")
            #expect(try supervisor.next() == "STATUS=lag 0.2 s READY=1")
            try notify.watchdog()
            #expect(try supervisor.next() == "WATCHDOG=1")
            try notify.extendTimeout(milliseconds: 1_500)
            #expect(try supervisor.next() == "EXTEND_TIMEOUT_USEC=1500000")
            try notify.stopping(status: "draining")
            #expect(try supervisor.next() == "STOPPING=1\nSTATUS=draining")
        }
    }

    @Test func abstractNames() throws {
        let name = "@servicekit-tests-\(getpid())-\(MonotonicClock.nanoseconds())"
        let supervisor = try Supervisor(name)
        try Notify(environment: ["NOTIFY_SOCKET": name]).status("x")
        #expect(try supervisor.next() == "STATUS=x")
    }

    @Test func withoutSupervisorNothingHappens() throws {
        for environment in [[:], ["NOTIFY_SOCKET": ""]] {
            let notify = Notify(environment: environment)
            #expect(notify.socketPath == nil)
            try notify.ready(status: "x")
        }
    }

    @Test func failuresAreTold() {
        let gone = #expect(throws: Failure.self) {
            try Notify(environment: ["NOTIFY_SOCKET": "/nonexistent/socket"]).watchdog()
        }
        #expect(gone?.sentence == "/nonexistent/socket: cannot notify the supervisor: No such file or directory")
        let other = #expect(throws: Failure.self) {
            try Notify(environment: ["NOTIFY_SOCKET": "vsock:2:1"]).watchdog()
        }
        #expect(
            other?.report == """
                tallymill: NOTIFY_SOCKET is "vsock:2:1": must be a path or @name of at most 107 bytes
                  Socket families other than unix are not supported.
                """)
    }

    @Test func addressesAtTheirBound() {
        for first in ["/", "@"] {
            #expect(UnixAddress(first + String(repeating: "x", count: 106)) != nil)
            #expect(UnixAddress(first + String(repeating: "x", count: 107)) == nil)
            #expect(UnixAddress(first) == nil)
        }
        #expect(UnixAddress("relative") == nil)
    }

    @Test func theWatchdogsInterval() {
        func interval(_ environment: [String: String]) -> Int? {
            Notify(environment: environment).watchdogIntervalMilliseconds
        }
        #expect(interval([:]) == nil)
        #expect(interval(["WATCHDOG_USEC": "30000000"]) == 15_000)
        #expect(interval(["WATCHDOG_USEC": "1"]) == 1)
        #expect(interval(["WATCHDOG_USEC": "x"]) == nil)
        #expect(interval(["WATCHDOG_USEC": "2000", "WATCHDOG_PID": "\(getpid())"]) == 1)
        #expect(interval(["WATCHDOG_USEC": "2000", "WATCHDOG_PID": "1"]) == nil)
    }
}
