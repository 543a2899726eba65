// A hold on the consumers of a real process with fake roles: taken, given back, refused, and ended in every other way.

import Glibc
import ServiceKit
import Testing

@testable import Supervision

@Suite struct ConsumerHoldTests {
    private let ready = "up at http://web:3333"

    private func take(_ folder: String, _ reason: String = "rebalance to 3 partitions") throws -> ConsumerHold? {
        try ConsumerHold.take(dataFolder: folder, reason: reason, waitingMilliseconds: 20_000)
    }

    /// Starts a cluster, and a process that holds its consumers.
    private func withHolder(
        _ arguments: [String], _ body: (_ cluster: Cluster, _ holder: Cluster) throws -> Void
    ) throws {
        try withFolder { folder throws in
            let cluster = try Cluster(arguments, in: folder)
            #expect(try cluster.prints(ready))
            let holder = try Cluster(["rebalance to 3 partitions"], in: folder, command: "hold")
            #expect(try holder.prints("held"))
            try body(cluster, holder)
        }
    }

    @Test func consumersEndAndComeBack() throws {
        try withHolder(["consumer", "consumer", "web"]) { cluster, holder throws in
            #expect(try Set(cluster.trace().suffix(2)) == ["consumer 0 end", "consumer 1 end"])
            let web = try cluster.pid(of: "web")
            let state = try #require(try UpControl.state(dataFolder: cluster.folder))
            #expect(state.consumers == .held && state.heldFor == "rebalance to 3 partitions")
            try holder.process.send(SIGTERM)
            #expect(try holder.end() == .code(0))
            #expect(holder.printed == ["held", "released 2"])
            for consumer in ["consumer 0", "consumer 1"] {
                #expect(try cluster.happens("\(consumer) start", times: 2))
                #expect(try isRunning(cluster.pid(of: consumer)))
            }
            #expect(try UpControl.state(dataFolder: cluster.folder)?.consumers == .running)
            // The web node has seen nothing of it.
            #expect(try cluster.pid(of: "web") == web)
            #expect(try isRunning(web))
            try cluster.process.send(SIGINT)
            #expect(try cluster.end() == .code(0))
            #expect(cluster.printed == [ready, "total 42"])
            let notices = cluster.errors.filter { $0.contains("the consumers") }
            try #require(notices.count == 2, "\(notices)")
            let who = "process \(holder.process.pid)"
            #expect(notices[0].hasSuffix("the consumers are held by \(who): rebalance to 3 partitions"))
            #expect(notices[1].hasSuffix("the consumers work again: 2 partitions"))
        }
    }

    @Test func theConsumersAreThoseOfTheFileAsItIsNow() throws {
        try withFolder { folder throws in
            try touch("\(folder)/cluster", "1 2 ready")
            let cluster = try Cluster(["web"], in: folder)
            #expect(try cluster.prints(ready))
            let hold = try #require(try take(folder))
            try touch("\(folder)/cluster", "2 3 building")
            #expect(try hold.release(waitingMilliseconds: 20_000) == "released 0 building")
            #expect(try cluster.complains("no consumer is started: epoch 2 with 3 partitions is unfinished"))
            let state = try #require(try UpControl.state(dataFolder: folder))
            #expect(state.consumers == .none && state.isBuilding && state.epoch == 2 && state.partitions == 3)
            // Somebody goes on with it, and this time finishes.
            let second = try #require(try take(folder))
            try touch("\(folder)/cluster", "2 3 ready")
            #expect(try second.release(waitingMilliseconds: 20_000) == "released 3")
            for index in 0..<3 { #expect(try cluster.happens("consumer \(index) start")) }
            #expect(try cluster.complains("the consumers work again: 3 partitions"))
            try cluster.process.send(SIGINT)
            #expect(try cluster.end() == .code(0))
            #expect(cluster.printed == [ready, "total 42"])
        }
    }

    @Test func aFileThatBecomesReadyWithoutAHold() throws {
        try withFolder { folder throws in
            try touch("\(folder)/cluster", "2 3 building")
            let cluster = try Cluster(["web"], in: folder)
            #expect(try cluster.prints("epoch 2 with 3 partitions is unfinished"))
            #expect(try cluster.trace().filter { $0.contains("consumer") } == [])
            try touch("\(folder)/cluster", "2 3 ready")
            #expect(try cluster.complains("the consumers work again: 3 partitions"))
            #expect(cluster.printed == ["\(ready) in epoch 2", "epoch 2 with 3 partitions is unfinished"])
        }
    }

    @Test func aSecondToolIsRefused() throws {
        try withHolder(["consumer", "web"]) { cluster, _ throws in
            let failure = #expect(throws: Failure.self) { try take(cluster.folder, "import") }
            #expect(failure?.code == .locked)
            #expect(
                failure?.report == """
                    tallymill: \(cluster.folder): the consumers are held already: rebalance to 3 partitions
                      Wait for that command to end, then run this again.
                    """)
        }
    }

    @Test func aKilledHolderGivesThemBack() throws {
        try withHolder(["consumer", "web"]) { cluster, holder throws in
            try holder.process.send(SIGKILL)
            #expect(try holder.end() == .signal(SIGKILL))
            #expect(try cluster.happens("consumer 0 start", times: 2))
            #expect(try cluster.complains("the consumers work again: 1 partition"))
        }
    }

    @Test func consumersThatEndBadlyHaveEnded() throws {
        // One whose code stops a cluster at any other time, and one that is killed.
        let corrupt = """
            echo "consumer 0 start $$" >> "$0/trace"; trap 'exit 65' TERM; echo 'ready now'
            while true; do sleep 0.01; done
            """
        let stubborn = """
            echo "consumer 1 start $$" >> "$0/trace"; trap 'echo "consumer 1 asked" >> "$0/trace"' TERM
            echo 'ready now'
            while true; do sleep 0.01; done
            """
        try withFolder { folder throws in
            let cluster = try Cluster([corrupt, stubborn, "web"], in: folder)
            #expect(try cluster.prints(ready))
            let holder = try Cluster(["import"], in: folder, command: "hold")
            #expect(try cluster.happens("consumer 1 asked"))
            // The group, for the shell may wait for its `sleep`.
            #expect(kill(-(try cluster.pid(of: "consumer 1")), SIGKILL) == 0)
            #expect(try holder.prints("held"))
            #expect(try cluster.complains("consumer 0 ended with code 65 while it was stopped"))
            #expect(try cluster.complains("consumer 1 was killed by signal 9 while it was stopped"))
            #expect(try isRunning(cluster.pid(of: "web")))
            try cluster.process.send(SIGINT)
            #expect(try cluster.end() == .code(0))
        }
    }

    @Test func aHolderWhoGoesBeforeTheyHaveEnded() throws {
        let slow = """
            echo "consumer 0 start $$" >> "$0/trace"; trap 'echo "consumer 0 asked" >> "$0/trace"; asked=1' TERM
            echo 'ready now'; while [ -z "$asked" ] || ! [ -e "$0/may-end" ]; do sleep 0.01; done
            """
        try withFolder { folder throws in
            let cluster = try Cluster([slow, "web"], in: folder)
            #expect(try cluster.prints(ready))
            let failure = #expect(throws: Failure.self) {
                try ConsumerHold.take(dataFolder: folder, reason: "import", waitingMilliseconds: 1_000)
            }
            #expect(failure?.code == .locked)
            #expect(
                failure?.sentence
                    == "\(folder): the consumers of process \(cluster.process.pid) have not ended within 1 s")
            #expect(try cluster.happens("consumer 0 asked"))
            #expect(try UpControl.state(dataFolder: folder)?.consumers == .ending)
            try touch("\(folder)/may-end")
            #expect(try cluster.happens("consumer 0 start", times: 2))
            #expect(try cluster.complains("the consumers work again: 1 partition"))
            // It minds no SIGTERM from now on, and goes with its parent even so.
            #expect(unlink("\(folder)/may-end") == 0)
            let consumer = try cluster.pid(of: "consumer 0")
            #expect(kill(cluster.process.pid, SIGKILL) == 0)
            let isGone = try eventually { try !isRunning(consumer) }
            #expect(isGone)
        }
    }

    @Test func aSignalDuringAHoldWaitsForNothing() throws {
        for (waiting, code): (String, Int32) in [("3", 1), ("0", 0)] {
            try withHolder(["consumer", "web"]) { cluster, holder throws in
                try touch("\(cluster.folder)/waiting", waiting)
                try cluster.process.send(SIGINT)
                #expect(try cluster.end() == .code(code))
                #expect(try cluster.trace().last == "web end")
                // No total: it would not be the one that was acknowledged.
                #expect(cluster.printed == [ready])
                let why = "the consumers are held (rebalance to 3 partitions)"
                if code == 0 {
                    #expect(cluster.errors.last?.hasSuffix("\(why); no batch waits") == true)
                } else {
                    #expect(
                        cluster.errors.suffix(2) == [
                            "tallymill: \(why): 3 batches wait in Redis",
                            "  Nothing is lost: the next `tallymill up` goes on with it.",
                        ])
                }
                try holder.process.send(SIGTERM)
                #expect(try holder.end() == .code(69))
                #expect(
                    holder.errors == [
                        "tallymill: the `up` of process \(cluster.process.pid) has closed the connection",
                        "  If it has ended, start it again: it starts the consumers that the cluster file asks for.",
                    ])
            }
        }
    }

    @Test func aFileThatCannotBeReadStopsTheCluster() throws {
        try withHolder(["consumer", "web"]) { cluster, holder throws in
            try touch("\(cluster.folder)/unreadable")
            try holder.process.send(SIGTERM)
            #expect(try holder.end() == .code(1))
            #expect(
                holder.errors == [
                    "tallymill: the `up` of process \(cluster.process.pid) says: this is no cluster file"
                ])
            #expect(try cluster.end() == .code(78))
            #expect(cluster.errors.last == "tallymill: this is no cluster file")
            #expect(try cluster.trace().last == "web end")
        }
    }

    @Test func aHoldDuringTheStartWaitsForIt() throws {
        let slow = """
            echo "consumer 0 start $$" >> "$0/trace"; while ! [ -e "$0/may-start" ]; do sleep 0.01; done
            echo 'ready now'; exec sleep 1000
            """
        try withFolder { folder throws in
            let cluster = try Cluster([slow, "web"], in: folder)
            #expect(try cluster.happens("consumer 0 start"))
            let client = try speak(folder)
            client.send("hold import")
            #expect(try speak(folder).asks("hold rebalance") == "busy import")
            #expect(try isRunning(cluster.pid(of: "consumer 0")))
            #expect(cluster.printed == [])
            try touch("\(folder)/may-start")
            #expect(try client.hears() == "held")
            #expect(try !isRunning(cluster.pid(of: "consumer 0")))
            #expect(try cluster.prints(ready))
        }
    }

    @Test func nobodyRuns() throws {
        try withFolder { folder throws in
            #expect(try take(folder) == nil)
            let cluster = try Cluster(["web"], in: folder)
            #expect(try cluster.prints(ready))
            #expect(kill(cluster.process.pid, SIGKILL) == 0)
            #expect(try cluster.end() == .signal(SIGKILL))
            // What it has left misleads nobody.
            #expect(access("\(folder)/up/control.sock", F_OK) == 0)
            #expect(try take(folder) == nil)
        }
    }

    @Test func aReasonIsOneLineOfBoundedLength() throws {
        try withFolder { folder throws in
            let cluster = try Cluster(["web"], in: folder)
            #expect(try cluster.prints(ready))
            let hold = try #require(try take(folder, "two\nlines\u{7F}" + String(repeating: "é", count: 1_000)))
            let reason = try #require(try UpControl.state(dataFolder: folder)?.heldFor)
            #expect(reason == "two lines " + String(repeating: "é", count: 95))
            #expect(try hold.release(waitingMilliseconds: 20_000) == "released 0")
        }
    }
}
