// A cluster of fake roles in a real process: starting, dying, restarting and stopping, as traced by all of them.

import Glibc
import ServiceKit
import Testing

@testable import Supervision

@Suite struct ClusterRunTests {
    private let ready = "up at http://web:3333"

    @Test func startsAndDrainsInOrder() throws {
        try withFolder { folder throws in
            try touch("\(folder)/waiting", "2")
            let cluster = try Cluster(["consumer", "web"], in: folder)
            #expect(try cluster.prints(ready))
            #expect(try cluster.trace().first == "initialise")
            #expect(try Set(cluster.trace()) == ["initialise", "consumer 0 start", "web start"])
            #expect(try cluster.complains("web speaks"))
            try cluster.process.send(SIGINT)
            // The web node has ended, and the consumer works until nothing waits.
            #expect(try cluster.happens("asked", times: 3))
            #expect(try cluster.trace().last == "web end")
            #expect(try isRunning(cluster.pid(of: "consumer 0")))
            try touch("\(folder)/waiting", "0")
            #expect(try cluster.end() == .code(0))
            #expect(try cluster.trace().suffix(3) == ["web end", "consumer 0 end", "total"])
            #expect(cluster.printed == [ready, "total 42"])
        }
    }

    @Test func whatDiesIsStartedAgain() throws {
        try withFolder { folder throws in
            let cluster = try Cluster(["consumer", "web"], in: folder)
            #expect(try cluster.prints(ready))
            for round in 1...3 {
                for role in ["web", "consumer 0"] {
                    #expect(try cluster.happens("\(role) start", times: round))
                    let pid = try cluster.pid(of: role)
                    #expect(kill(pid, SIGKILL) == 0)
                }
            }
            #expect(try cluster.happens("web start", times: 4))
            #expect(try cluster.happens("consumer 0 start", times: 4))
            #expect(try cluster.complains("web was killed by signal 9, is started again"))
            #expect(try cluster.complains("is started again in 50 ms"))
            #expect(try cluster.complains("web works again"))
            try cluster.process.send(SIGTERM)
            #expect(try cluster.end() == .code(0))
            #expect(cluster.printed == [ready, "total 42"])
        }
    }

    @Test func aCodeThatARestartCannotCureStopsAll() throws {
        try withFolder { folder throws in
            // Works until SIGUSR1, and has a child of its own then.
            let script = """
                trap 'echo "this option is not known" >&2; exit 64' USR1
                sleep 1000 & echo "sleeper start $!" >> "$0/trace"
                echo "consumer 0 start $$" >> "$0/trace"
                echo opening >&2; echo 'ready partition 0'; wait
                """
            let cluster = try Cluster([script, "web"], in: folder)
            #expect(try cluster.prints(ready))
            let sleeper = try cluster.pid(of: "sleeper")
            #expect(try isRunning(sleeper))
            #expect(kill(try cluster.pid(of: "consumer 0"), SIGUSR1) == 0)
            #expect(try cluster.end() == .code(64))
            #expect(cluster.errors.count { $0 == "this option is not known" } == 1)
            #expect(cluster.errors.last == "tallymill: consumer 0 ended with code 64; it has said why, above")
            #expect(try cluster.trace().last == "web end")
            #expect(cluster.printed == [ready])
            // It went with its parent.
            let isGone = try eventually { try !isRunning(sleeper) }
            #expect(isGone)
        }
    }

    /// Refused at its start, and tried again: it says why once, the others work, and it works when that is mended.
    @Test func aConsumerThatIsRefusedEndsNobodyElse() throws {
        let script = """
            echo try >> "$0/tries"
            [ -e "$0/mended" ] || { echo "the shard is damaged" >&2; exit 65; }
            echo "consumer 0 start $$" >> "$0/trace"; trap 'exit 0' TERM; echo 'ready partition 0'
            while true; do sleep 0.01; done
            """
        try withFolder { folder throws in
            let cluster = try Cluster([script, "consumer", "web"], in: folder)
            #expect(try cluster.prints(ready))
            #expect(
                try cluster.prints(
                    "consumer 0 ended with code 65: its partition is not counted until that is mended."))
            #expect(
                try cluster.complains("consumer 0 ended with code 65, and is tried again every 5 s; all others go on"))
            let isTriedAgain = try eventually {
                (try FileContent.readIfPresent("\(folder)/tries", maximumBytes: 100) ?? []).count >= "try\n".count * 2
            }
            #expect(isTriedAgain)
            #expect(try isRunning(cluster.pid(of: "web")))
            #expect(try isRunning(cluster.pid(of: "consumer 1")))
            try touch("\(folder)/mended")
            #expect(try cluster.complains("consumer 0 works again"))
            #expect(cluster.errors.count { $0 == "the shard is damaged" } == 1)
            try cluster.process.send(SIGTERM)
            #expect(try cluster.end() == .code(0))
            #expect(cluster.printed.last == "total 42")
        }
    }

    /// One that is refused what it needs until the end: its code is that of the whole.
    @Test func aConsumerThatIsRefusedToTheEndIsTold() throws {
        let codes: [Int32] = [65, 74, 78]
        for code in codes {
            try withFolder { folder throws in
                try touch("\(folder)/waiting", "3")
                let cluster = try Cluster(["echo 'not this one' >&2; exit \(code)", "web"], in: folder)
                #expect(try cluster.prints(ready))
                #expect(try cluster.complains("is tried again every 5 s"))
                try cluster.process.send(SIGINT)
                #expect(try cluster.end() == .code(code))
                let told = "tallymill: consumer 0 ended with code \(code); it has said why, above"
                #expect(cluster.errors.count { $0 == told } == 1)
                #expect(
                    cluster.errors.contains {
                        $0.hasPrefix("tallymill: consumer 0 ended with code \(code) and does not work: 3 batches wait")
                    })
            }
        }
    }

    @Test func aRoleThatNeverWorksIsGivenUp() throws {
        try withFolder { folder throws in
            let cluster = try Cluster(["echo 'address in use' >&2; exit 69", "web"], in: folder)
            #expect(try cluster.end() == .code(69))
            #expect(cluster.errors.count { $0.contains("address in use") } == 1)
            #expect(cluster.errors.last == "tallymill: consumer 0 ended with code 69; it has said why, above")
            #expect(cluster.printed == [])
            #expect(try ["initialise", "web end"].contains(cluster.trace().last), "the web node may not have begun")
        }
    }

    @Test func aStartThatFailsStopsWhatItStarted() throws {
        try withFolder { folder throws in
            try touch("\(folder)/unfit")
            let cluster = try Cluster(["--redis", "web"], in: folder)
            #expect(try cluster.end() == .code(78))
            #expect(cluster.errors.last == "tallymill: this folder is unfit")
            #expect(try cluster.trace() == [])
            let log = try FileContent.readIfPresent("\(folder)/up/redis.log", maximumBytes: 1 << 20) ?? []
            #expect(String(decoding: log, as: UTF8.self).contains("bye bye"))
        }
    }

    @Test func aSecondSignalDoesNotWaitForTheQueues() throws {
        try withFolder { folder throws in
            try touch("\(folder)/waiting", "7")
            let cluster = try Cluster(["consumer", "web"], in: folder)
            #expect(try cluster.prints(ready))
            try cluster.process.send(SIGTERM)
            #expect(try cluster.happens("asked", times: 2))
            try cluster.process.send(SIGTERM)
            #expect(try cluster.end() == .code(1))
            #expect(try cluster.trace().last == "consumer 0 end")
            #expect(
                cluster.errors.suffix(2) == [
                    "tallymill: stopped at once: 7 batches wait in Redis",
                    "  Nothing is lost: the next `tallymill up` goes on with it.",
                ])
            #expect(cluster.printed == [ready])
        }
    }

    @Test func aThirdSignalKills() throws {
        try withFolder { folder throws in
            try touch("\(folder)/stubborn")
            let cluster = try Cluster(["consumer", "web"], in: folder)
            #expect(try cluster.prints(ready))
            let web = try cluster.pid(of: "web")
            try cluster.process.send(SIGINT)
            try cluster.process.send(SIGTERM)
            #expect(try cluster.happens("consumer 0 end"))
            #expect(try isRunning(web))
            try cluster.process.send(SIGINT)
            #expect(try cluster.end() == .code(1))
            #expect(try !isRunning(web))
            #expect(cluster.errors.last == "tallymill: web was killed by signal 9 while it was stopped")
        }
    }

    @Test func aTerminalThatClosesStopsItOnce() throws {
        try withFolder { folder throws in
            try touch("\(folder)/waiting", "1")
            let cluster = try Cluster(["web"], in: folder)
            #expect(try cluster.prints(ready))
            for _ in 1...3 {
                try cluster.process.send(SIGHUP)
                #expect(try cluster.happens("web end"))
            }
            #expect(try cluster.happens("asked", times: 2))
            try touch("\(folder)/waiting", "0")
            #expect(try cluster.end() == .code(0))
            #expect(cluster.printed == [ready, "total 42"])
        }
    }

    @Test func noneOutlivesIt() throws {
        try withFolder { folder throws in
            let cluster = try Cluster(["--redis", "consumer", "consumer", "web"], in: folder)
            #expect(try cluster.prints(ready))
            let redis = try redisPid(folder)
            let children = try [redis] + ["consumer 0", "consumer 1", "web"].map(cluster.pid)
            for child in children { #expect(getpgid(child) == child) }
            // The process alone, as `kill -9` does.
            #expect(kill(cluster.process.pid, SIGKILL) == 0)
            #expect(try cluster.end() == .signal(SIGKILL))
            for child in children {
                let isGone = try eventually { try !isRunning(child) }
                #expect(isGone)
            }
            // The folder is free at once, and another one works in it.
            #expect(try UpFolder.socket(ofDataFolder: folder) == nil)
            try touch("\(folder)/trace")
            let next = try Cluster(["--redis", "web"], in: folder)
            #expect(try next.prints(ready))
            try next.process.send(SIGINT)
            #expect(try next.end() == .code(0))
        }
    }
}

/// The process that has the append-only folder: its number is in its log.
func redisPid(_ folder: String) throws -> Int32 {
    let log = try FileContent.readIfPresent("\(folder)/up/redis.log", maximumBytes: 1 << 20) ?? []
    let line = String(decoding: log, as: UTF8.self).split(separator: "\n").last { $0.contains(", pid=") }
    let number = line?.split(separator: ",").first { $0.hasPrefix(" pid=") }?.dropFirst(5)
    return try #require(number.flatMap { Int32($0) })
}
