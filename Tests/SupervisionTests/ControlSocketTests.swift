// The control socket of a real process with fake roles: its language, its bounds, and who may speak.

import Glibc
import ServiceKit
import Testing

@testable import Supervision

/// A connection to the `up` of a folder.
func speak(_ folder: String) throws -> ControlClient {
    try #require(try ControlClient.connect(dataFolder: folder))
}

extension ControlClient {
    /// The next line, within 20 s; nil if the other side has closed.
    func hears() throws -> String? {
        switch try receive(waitingMilliseconds: 20_000) {
        case .line(let line): return line
        case .ended: return nil
        case .late:
            Issue.record("no answer within 20 s")
            return nil
        }
    }

    func asks(_ line: String) throws -> String? {
        send(line)
        return try hears()
    }
}

@Suite struct ControlSocketTests {
    private let ready = "up at http://web:3333"
    private let notUnderstood = "error this is not understood; it can be hold REASON, release, or state"

    @Test func theStateIsOneLine() throws {
        try withFolder { folder throws in
            let cluster = try Cluster(["consumer", "consumer", "web"], in: folder)
            #expect(try cluster.prints(ready))
            let pid = cluster.process.pid
            let restarts = #""restarts":{"consumer 0":0,"consumer 1":0,"web":0}"#
            #expect(
                try speak(folder).asks("state")
                    == #"{"pid":\#(pid),"web":"http://web:3333","epoch":1,"partitions":2,"building":false,"#
                    + #""consumers":"running","held":null,\#(restarts)}"#)
            #expect(kill(try cluster.pid(of: "consumer 1"), SIGKILL) == 0)
            #expect(try cluster.complains("consumer 1 works again"))
            let state = try #require(try UpControl.state(dataFolder: folder))
            #expect(state.pid == pid && state.web == "http://web:3333" && state.epoch == 1 && state.partitions == 2)
            #expect(state.restarts.map { "\($0.role) \($0.count)" } == ["consumer 0 0", "consumer 1 1", "web 0"])
        }
    }

    @Test func everyStateCanBeRead() throws {
        var state = UpState()
        for consumers: UpState.Consumers in [.running, .ending, .held, .none, .over] {
            state.consumers = consumers
            #expect(UpState(json: state.json) == state)
            state.pid = 4711
            state.web = "http://[::1]:1"
            state.epoch = .max
            state.partitions = 1024
            state.isBuilding = true
            state.heldFor = #"an "import" of \ "#
            state.restarts = [UpState.Restarts(role: "consumer 0-63", count: 3)]
        }
        // A newer release knows more.
        #expect(UpState(json: #"{"pid":1,"new":{"a":[1]},"held":"x"}"#)?.heldFor == "x")
        for wrong in ["", "{", "[]", "held", #"{"pid":"1"}"#, #"{"pid":1} x"#] { #expect(UpState(json: wrong) == nil) }
    }

    @Test func linesThatMeanNothing() throws {
        try withFolder { folder throws in
            let cluster = try Cluster(["consumer", "web"], in: folder)
            #expect(try cluster.prints(ready))
            let client = try speak(folder)
            for line in ["", "help", "HOLD x", "state now", "release it", "\u{1B}[31m"] {
                #expect(try client.asks(line) == notUnderstood)
            }
            #expect(try client.asks("hold") == "error hold needs a reason: hold REASON")
            #expect(try client.asks("hold  ") == "error hold needs a reason: hold REASON")
            #expect(try client.asks("release") == "error this connection holds nothing")
            // Nothing of it has disturbed anybody, and several lines may come at once.
            client.send("release\nhold a\u{07}b\nstate")
            #expect(try client.hears() == "error this connection holds nothing")
            #expect(try client.hears()?.contains(#""consumers":"ending","held":"a b""#) == true)
            #expect(try client.hears() == "held")
            #expect(try client.asks("release") == "released 1")
        }
    }

    @Test func aLineHasABound() throws {
        try withFolder { folder throws in
            let cluster = try Cluster(["web"], in: folder)
            #expect(try cluster.prints(ready))
            let longest = String(repeating: "x", count: ControlConnection.lineBytesMax)
            let client = try speak(folder)
            #expect(try client.asks(longest) == notUnderstood)
            #expect(try client.asks(longest + "x") == "error a line has at most 1024 bytes")
            #expect(try client.hears() == nil)
            #expect(try speak(folder).asks("state") != nil)
        }
    }

    @Test func theNumberOfConnectionsHasABound() throws {
        try withFolder { folder throws in
            let cluster = try Cluster(["web"], in: folder)
            #expect(try cluster.prints(ready))
            var clients: [ControlClient] = []
            for _ in 0..<ControlSocket.connectionsMax { clients.append(try speak(folder)) }
            for client in clients { #expect(try client.asks("state") != nil) }
            let tooMany = try speak(folder)
            #expect(try tooMany.hears() == "error 8 programs are connected already")
            #expect(try tooMany.hears() == nil)
            clients.removeLast()
            let isFree = try eventually { try speak(folder).asks("state")?.hasPrefix("{") == true }
            #expect(isFree)
        }
    }

    @Test func whoDoesNotReadIsDropped() throws {
        try withFolder { folder throws in
            let cluster = try Cluster(["consumer", "web"], in: folder)
            #expect(try cluster.prints(ready))
            let client = try speak(folder)
            #expect(try client.asks("hold me") == "held")
            // Asks until what nobody reads fills the buffers of the system; that is the end, and of the hold, too.
            var asked = 0
            let isDropped = try eventually {
                for _ in 0..<1_000 { client.send("state") }
                asked += 1_000
                return try cluster.hasHappened("consumer 0 start", times: 2)
            }
            #expect(isDropped, "asked \(asked) times")
            #expect(try speak(folder).asks("state")?.contains(#""held":null"#) == true)
        }
    }

    @Test func theSocketIsPrivateAndMovesIfItsPathIsTooLong() throws {
        try withFolder { folder throws in
            for name in ["data", String(repeating: "long/", count: 30) + "data", "a folder"] {
                let data = "\(folder)/\(name)"
                try Folder.make(data)
                try Folder.make("\(folder)/run", mode: 0o700)
                let cluster = try Cluster(["web"], in: data, environment: ["XDG_RUNTIME_DIR": "\(folder)/run"])
                #expect(try cluster.prints(ready))
                let path = try #require(try UpFolder.controlSocket(ofDataFolder: data))
                #expect(path.hasPrefix(name == "data" ? "\(data)/up/control.sock" : "\(folder)/run/tallymill-"))
                var status = stat()
                #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o600)
                #expect(try UpControl.state(dataFolder: data)?.pid == cluster.process.pid)
                try cluster.process.send(SIGTERM)
                #expect(try cluster.end() == .code(0))
                #expect(access(path, F_OK) != 0)
                #expect(try UpControl.state(dataFolder: data) == nil)
            }
        }
    }

    @Test func othersMayNotSpeak() throws {
        guard geteuid() == 0, access("/usr/bin/setpriv", X_OK) == 0 else {
            print("skipped: only root can be somebody else, by setpriv")
            return
        }
        try withFolder { folder throws in
            #expect(chmod(folder, 0o755) == 0)
            let cluster = try Cluster(["web"], in: folder)
            #expect(try cluster.prints(ready))
            let stranger = try Cluster(["x"], in: folder, command: "hold", user: 12_345)
            #expect(try stranger.end() == .code(74))
            let socket = "\(folder)/up/control.sock"
            let who = "the `up` of process \(cluster.process.pid)"
            #expect(
                stranger.errors == [
                    "tallymill: \(socket): cannot speak to \(who): Permission denied",
                    "  The same user can, and root.",
                ])
            // Even if somebody has opened the socket to all.
            #expect(chmod(socket, 0o666) == 0)
            let another = try Cluster(["x"], in: folder, command: "hold", user: 12_345)
            #expect(try another.end() == .code(1))
            #expect(another.errors == ["tallymill: \(who) says: only user 0 and root may speak to this `up`"])
        }
    }

    @Test func rootMaySpeakToOthers() throws {
        guard geteuid() == 0, access("/usr/bin/setpriv", X_OK) == 0 else {
            print("skipped: only root can be somebody else, by setpriv")
            return
        }
        try withFolder { folder throws in
            #expect(chown(folder, 12_345, 12_345) == 0)
            let cluster = try Cluster(["consumer", "web"], in: folder, user: 12_345)
            #expect(try cluster.prints(ready))
            for user: UInt32? in [12_345, nil] {
                let holder = try Cluster(["x"], in: folder, command: "hold", user: user)
                #expect(try holder.prints("held"))
                try holder.process.send(SIGTERM)
                #expect(try holder.end() == .code(0))
                #expect(holder.printed == ["held", "released 1"])
            }
        }
    }

    @Test func anEarlierReleaseHasNoSocket() throws {
        try withFolder { folder throws in
            #expect(try UpControl.state(dataFolder: folder) == nil)
            let old = try Cluster([], in: folder, command: "lock")
            #expect(try old.prints("acquired"))
            let failure = #expect(throws: Failure.self) {
                try ConsumerHold.take(dataFolder: folder, reason: "import", waitingMilliseconds: 1)
            }
            #expect(failure?.code == .locked)
            #expect(
                failure?.report == """
                    tallymill: \(folder): the `up` of process \(old.process.pid) has no control socket: \
                    it is of an earlier release
                      Stop it with Ctrl-C and start it with this release, then run this again.
                    """)
        }
    }
}
