// Another process uses the identity of this node: it was resumed from a snapshot of its memory, or cloned. Nothing more
// is pushed or acknowledged, and the process has to end.

import ClusterSupport
import RedisQueue
import ServiceKit
import Synchronization
import TallyCore
import TestSupport
import Testing

@testable import WebNode

@Suite struct ConflictTests {
    @Test(arguments: [1, 2]) func aCloneWasFaster(loops: Int) throws {
        let fixture = try NodeFixture(loops: loops)
        try #require(waitUntil { fixture.isReady() })
        let ids = fixture.producers(loops)
        #expect(ids.count == loops)
        for id in ids {
            let clone = try CloneNode(id, fixture.server.link(), fixture.names)
            #expect(try clone.push(fixture.key(in: 0)))
        }
        // Redis has another batch under the node's first sequence.
        let outcome = Mutex<Int?>(nil)
        let (port, key) = (fixture.port, fixture.key(in: 0))
        let client = ServiceThread(name: "client") {
            let status = NodeFixture.post(port, key).0
            outcome.withLock { $0 = status }
        }
        try #require(waitUntil(seconds: 5) { fixture.node.conflict != nil })
        #expect(fixture.node.conflict?.partition == PartitionID(epoch: 1, number: 0))
        // Who comes now is refused; who waits has no answer, neither now nor when the process ends.
        try #require(waitUntil(seconds: 2) { fixture.post(fixture.key(in: 1)).0 == 503 })
        #expect(outcome.withLock { $0 } == nil)
        fixture.abandon()
        client.join()
        #expect(outcome.withLock { $0 } == 0)
        #expect(try fixture.length(0) == .integer(Int64(loops)))
        #expect(try fixture.length(1) == .integer(0))
    }

    @Test func whatARequestIsTold() throws {
        let fixture = try NodeFixture()
        try #require(waitUntil { fixture.isReady() })
        #expect(try CloneNode(fixture.producer, fixture.server.link(), fixture.names).push(fixture.key(in: 0)))
        #expect(fixture.post(fixture.key(in: 0), level: "memory").0 == 200)
        try #require(waitUntil(seconds: 5) { fixture.node.conflict != nil })
        let (status, body) = fixture.post(fixture.key(in: 1))
        #expect(status == 503)
        #expect(body.contains("another process uses this node's identity: this one ends"))
        #expect(fixture.readiness()?.status == 503)
    }
}
