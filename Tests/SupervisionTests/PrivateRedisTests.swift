// The folder of an `up` and its Redis, which is the real one.

import Glibc
import ServiceKit
import Testing

@testable import Supervision

@Suite struct UpFolderTests {
    @Test func oneAtATime() throws {
        try withFolder { folder throws in
            let first = try Cluster([], in: folder, command: "lock")
            #expect(try first.prints("acquired"))
            let second = try Cluster([], in: folder, command: "lock")
            #expect(try second.end() == .code(75))
            #expect(
                second.errors == [
                    "tallymill: \(folder): process \(first.process.pid) runs a cluster in this folder",
                    "  Stop it, or use another folder: --data-dir.",
                ])
        }
    }

    @Test func theSocketCountsWhileTheLockIsHeld() throws {
        try withFolder { folder throws in
            #expect(try UpFolder.socket(ofDataFolder: folder) == nil)
            let cluster = try Cluster([], in: folder, command: "lock")
            #expect(try cluster.prints("acquired"))
            #expect(try UpFolder.socket(ofDataFolder: folder) == nil)
            try touch("\(folder)/up/redis.socket", "/run/x.sock\n")
            #expect(try UpFolder.socket(ofDataFolder: folder) == "/run/x.sock")
            try cluster.process.send(SIGKILL)
            #expect(try cluster.end() == .signal(SIGKILL))
            #expect(try UpFolder.socket(ofDataFolder: folder) == nil)
            // What a killed one has left does not mislead the next one's commands.
            let next = try Cluster([], in: folder, command: "lock")
            #expect(try next.prints("acquired"))
            #expect(try UpFolder.socket(ofDataFolder: folder) == nil)
        }
    }

    @Test func aLogThatHasGrownIsEmptied() throws {
        try withFolder { folder throws in
            let path = "\(folder)/log"
            try touch(path, "12345")
            try LineSink(appendingTo: path, maximumBytes: 5).write("6")
            #expect(try FileContent.readIfPresent(path, maximumBytes: 100) == Array("123456\n".utf8))
            try LineSink(appendingTo: path, maximumBytes: 5).write("7")
            #expect(try FileContent.readIfPresent(path, maximumBytes: 100) == Array("7\n".utf8))
        }
    }
}

@Suite struct SocketPathTests {
    @Test func theHashIsPublic() {
        // Vectors of the authors of FNV-1a.
        #expect(SocketPath.hash(of: "") == "cbf29ce484222325")
        #expect(SocketPath.hash(of: "a") == "af63dc4c8601ec8c")
        #expect(SocketPath.hash(of: "foobar") == "85944171f73967e8")
    }

    @Test func aShortPathIsUsedAndALongOneMoves() throws {
        try withFolder { folder throws in
            let room = SocketPath.bytesMax - "/up/redis.sock".utf8.count
            let longest = "/" + String(repeating: "d", count: room - 1)
            #expect(
                try SocketPath.prepare("redis.sock", dataFolder: longest, environment: [:])
                    == "\(longest)/up/redis.sock")
            let tooLong = longest + "d"
            let hash = SocketPath.hash(of: tooLong)
            let own = "\(folder)/tallymill-\(geteuid())"
            #expect(
                try SocketPath.prepare("redis.sock", dataFolder: tooLong, environment: [:], temporary: folder)
                    == "\(own)/\(hash)/redis.sock")
            #expect(
                try SocketPath.prepare("redis.sock", dataFolder: tooLong, environment: ["XDG_RUNTIME_DIR": folder])
                    == "\(folder)/tallymill-\(hash)/redis.sock")
            // A runtime folder that is not there, or too long itself.
            for wrong in ["/nonexistent", "relative", longest] {
                #expect(
                    try SocketPath.prepare(
                        "redis.sock", dataFolder: tooLong, environment: ["XDG_RUNTIME_DIR": wrong], temporary: folder)
                        == "\(own)/\(hash)/redis.sock")
            }
            // A URL could not carry it.
            #expect(
                try SocketPath.prepare("redis.sock", dataFolder: "/my data", environment: [:], temporary: folder)
                    == "\(own)/\(SocketPath.hash(of: "/my data"))/redis.sock")
            var status = stat()
            #expect(stat(own, &status) == 0)
            #expect(status.st_mode & 0o777 == 0o700)
        }
    }

    @Test func aFolderOfSomebodyElseIsRefused() throws {
        try withFolder { folder throws in
            let own = "\(folder)/tallymill-\(geteuid())"
            try #require(symlink(folder, own) == 0)
            let tooLong = "/" + String(repeating: "d", count: 200)
            let link = #expect(throws: Failure.self) {
                try SocketPath.prepare("redis.sock", dataFolder: tooLong, environment: [:], temporary: folder)
            }
            #expect(link?.code == .ioError)
            #expect(link?.sentence == "\(own): cannot open the folder: Not a directory")
            try #require(unlink(own) == 0)
            try Folder.make(own, mode: 0o755)
            _ = try SocketPath.prepare("redis.sock", dataFolder: tooLong, environment: [:], temporary: folder)
            var status = stat()
            #expect(stat(own, &status) == 0 && status.st_mode & 0o777 == 0o700)
            // Only root can give a folder away.
            guard geteuid() == 0, chown(own, 12_345, 0) == 0 else { return }
            let foreign = #expect(throws: Failure.self) {
                try SocketPath.prepare("redis.sock", dataFolder: tooLong, environment: [:], temporary: folder)
            }
            #expect(foreign?.sentence == "\(own): the folder belongs to user 12345")
        }
    }
}

@Suite struct ClosedFolderTests {
    private func mode(_ path: String) -> mode_t {
        var status = stat()
        return stat(path, &status) == 0 ? status.st_mode & 0o777 : 0
    }

    /// A data folder that was there, and what an earlier release made in it.
    @Test func foldersOfAnUpAreTakenFromOthers() throws {
        try withFolder { folder throws in
            try #require(chmod(folder, 0o755) == 0)
            for name in ["up", "redis"] { try Folder.make("\(folder)/\(name)", mode: 0o777) }
            try AtomicFile.write(Array("old\n".utf8), to: "\(folder)/up/redis.log", mode: 0o644)
            try AtomicFile.write([], to: "\(folder)/up/redis.lock", mode: 0o644)
            let up = try UpFolder.acquire(dataFolder: folder)
            _ = try PrivateRedis(in: up, environment: ["PATH": "/usr/bin:/bin"])  // prepares everything
            for name in ["up", "redis"] { #expect(mode("\(folder)/\(name)") & 0o007 == 0) }
            #expect(mode("\(folder)/up/redis.log") == 0o640)
            #expect(mode("\(folder)/up/redis.lock") == 0o600)
            #expect(mode("\(folder)/up/lock") == 0o600)
            // It is the operator's.
            #expect(mode(folder) == 0o755)
        }
    }
}

@Suite struct PrivateRedisTests {
    private func runs(in folder: String, runtime: String? = nil) throws {
        let cluster = try Cluster(
            ["--redis", "web"], in: folder, environment: runtime.map { ["XDG_RUNTIME_DIR": $0] } ?? [:])
        #expect(try cluster.prints("up at http://web:3333"))
        let socket = try #require(try UpFolder.socket(ofDataFolder: folder))
        #expect(socket.hasPrefix(runtime ?? folder))
        #expect(UnixSocket.answers(socket))
        var status = stat()
        #expect(stat(socket, &status) == 0 && status.st_mode & 0o777 == 0o700)
        // Killed, it comes back at the same socket, and everybody else lives on.
        let web = try cluster.pid(of: "web")
        let first = try redisPid(folder)
        #expect(kill(first, SIGKILL) == 0)
        #expect(try cluster.complains("redis works again"))
        #expect(UnixSocket.answers(socket))
        #expect(try redisPid(folder) != first)
        #expect(try cluster.pid(of: "web") == web)
        try cluster.process.send(SIGINT)
        #expect(try cluster.end() == .code(0))
        #expect(!UnixSocket.answers(socket))
        #expect(cluster.printed == ["up at http://web:3333", "total 42"])
        #expect(access("\(folder)/redis/appendonlydir", F_OK) == 0)
    }

    @Test func servesOnAShortPath() throws {
        try withFolder { try runs(in: $0) }
    }

    @Test func servesOnALongPathAndOneWithSpaces() throws {
        try withFolder { folder throws in
            try Folder.make("\(folder)/run", mode: 0o700)
            for name in ["a folder's \"name\" of 5%", String(repeating: "long/", count: 30) + "data"] {
                try Folder.make("\(folder)/\(name)")
                try runs(in: "\(folder)/\(name)", runtime: "\(folder)/run")
            }
        }
    }

    @Test func itWaitsForItsPredecessor() throws {
        try withFolder { folder throws in
            // Somebody holds the folder's lock: a Redis that is slow to end.
            try Folder.make("\(folder)/up")
            var plan = ChildProcess.Plan(
                executable: "/usr/bin/flock",
                arguments: ["\(folder)/up/redis.lock", "/bin/sh", "-c", "echo held; exec sleep 1000"],
                environment: ["PATH": "/usr/bin:/bin"])
            plan.output = .pipe
            let holder = try ChildProcess.spawn(plan)
            #expect(try holder.output?.wait(timeoutMilliseconds: 20_000) == true)
            let cluster = try Cluster(["--redis", "web"], in: folder)
            #expect(try cluster.complains("still waiting for redis"))
            #expect(try cluster.trace() == [])
            try holder.send(SIGKILL)
            _ = try holder.wait()
            #expect(try cluster.prints("up at http://web:3333"))
            try cluster.process.send(SIGINT)
            #expect(try cluster.end() == .code(0))
        }
    }

    @Test func itEndsIfItsParentWasGoneBefore() throws {
        try withFolder { folder throws in
            let up = try UpFolder.acquire(dataFolder: folder)
            let redis = try PrivateRedis(in: up, environment: ["PATH": "/usr/bin:/bin"])
            var plan = redis.role.plan
            let index = try #require(plan.arguments.firstIndex(of: "\(getpid())"))
            plan.arguments[index] = "1"
            let child = try ChildProcess.spawn(plan)
            #expect(try child.wait(timeoutMilliseconds: 20_000) == .code(69))
        }
    }
}
