// What a command says that may have looked at a wrong place: what is there, and what to type.

import Glibc
import ServiceKit
import TallyCore
import TestSupport
import Testing

@testable import Operations

@Suite struct SurroundingsTests {
    private let failure = Failure(.configuration, "cause", at: "place", advice: "advice", mayBeMisplaced: true)

    private func access(_ socket: String, _ namespace: String) throws -> RedisAccess {
        try RedisAccess(
            url: "unix://\(socket)", passwordFile: nil, namespace: namespace, clientName: "test", allowVolatile: false)
    }

    private func advice(
        _ folder: DataFolder, _ access: RedisAccess?, isNamed: Bool = true, isSilent: Bool = false
    ) -> [String] {
        let told = Surroundings(folder, access, isRedisNamed: isNamed, isSilent: isSilent).explaining(failure)
        #expect(told.code == failure.code && told.sentence == failure.sentence && !told.mayBeMisplaced)
        return told.advice?.split(separator: "\n").map(String.init) ?? []
    }

    /// Folder and Redis of a cluster, of another one, and of none.
    @Test func everyPair() throws {
        let (one, other) = (try TestCluster(partitions: 1), try TestCluster(partitions: 1))
        let empty = DataFolder(one.folder.path + "/none")
        let (own, foreign) = ("cluster \(try one.topology.cluster)", "cluster \(try other.topology.cluster)")
        let here = "folder: \(own), epoch 1, 1 partition, in \(one.folder.path)"
        let (socket, theirs) = (one.server.socket, other.server.socket)
        let still = "  `up`:   does not run for this folder"
        #expect(
            advice(one.folder, one.access) == [
                here, "  Redis:  unix://\(socket), namespace test: \(own), epoch 1, 1 partition", still, "  advice",
            ])
        #expect(
            advice(one.folder, try access(socket, "typo")) == [
                here, "  Redis:  unix://\(socket), namespace typo: no cluster is published there", still,
                "  " + Surroundings.wayOfEmpty,
            ])
        #expect(
            advice(one.folder, other.access) == [
                here, "  Redis:  unix://\(theirs), namespace test: \(foreign), epoch 1, 1 partition", still,
                "  Name the Redis of \(own) with --redis, or its --namespace; or with --data-dir the folder of"
                    + " \(foreign).",
            ])
        #expect(
            advice(empty, one.access).last?.hasPrefix("  The folder of the cluster in this Redis is another") == true)
        #expect(
            advice(empty, try access(socket, "typo")).last
                == "  --data-dir names the folder of a cluster that is there. `tallymill init --partitions 4` makes a"
                + " new one in this folder and this Redis.")
        #expect(advice(empty, try access("/none", "x")).last?.contains("start this Redis") == true)
        let unnamed = advice(empty, try access("/none", "x"), isNamed: false)
        #expect(unnamed.last?.contains("`tallymill up` makes a new one") == true)
        #expect(advice(one.folder, nil)[1] == "  Redis:  none that can be asked: not asked: its options are wrong")
    }

    /// The Redis of an `up` that does not run, and another one than that of an `up` that does.
    @Test func theRedisOfUp() throws {
        let cluster = try TestCluster(partitions: 1)
        let silent = try access("/none", "test")
        #expect(
            advice(cluster.folder, silent, isSilent: true).last
                == "  Start this Redis, or name the one of this cluster with --redis; `tallymill doctor` looks closer.")
        try Folder.make(cluster.folder.privateRedisPath)
        try Folder.make(cluster.folder.upPath)
        #expect(
            advice(cluster.folder, silent, isNamed: false, isSilent: true).last?.hasPrefix("  `tallymill up` starts it")
                == true)
        guard case .acquired(let lock) = try FileLock.attempt("\(cluster.folder.upPath)/lock") else {
            Issue.record("nobody else has the lock")
            return
        }
        let told = advice(cluster.folder, silent, isSilent: true)
        #expect(told[2] == "  `up`:   runs for this folder, process \(getpid())")
        #expect(told.last?.contains("has a Redis of its own, which commands ask if --redis is left out") == true)
        withExtendedLifetime(lock) {}
    }

    /// What has nothing to do with places stays as it is, and nothing is asked.
    @Test func otherFailures() throws {
        let other = Failure(.unavailable, "cause", advice: "advice")
        let surroundings = Surroundings(DataFolder("/none"), nil, isRedisNamed: false, isSilent: true)
        #expect(surroundings.explaining(other) == other)
    }
}
