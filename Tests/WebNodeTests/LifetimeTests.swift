// A node that has stopped leaves nothing behind: no loop, no connection, no thread holds it or another of its parts.

import TestSupport
import Testing

@testable import HTTPFront
@testable import WebNode

@Suite struct LifetimeTests {
    private final class Parts {
        weak var handle: LoopHandle?
        weak var loop: NodeLoop?
        weak var delivery: Delivery?
        weak var node: WebNode?

        init(_ node: WebNode) {
            self.node = node
            handle = node.parts[0].loop
            loop = node.parts[0].node
            delivery = node.parts[0].delivery
        }

        var isGone: Bool { handle == nil && loop == nil && delivery == nil && node == nil }
    }

    @Test func aStoppedNodeIsFreed() throws {
        var fixture: NodeFixture? = try NodeFixture(loops: 2)
        let parts = Parts(try #require(fixture).node)
        #expect(waitForReady(fixture))
        #expect(!parts.isGone)
        fixture?.stop()
        fixture = nil
        #expect(parts.isGone)
    }

    private func waitForReady(_ fixture: NodeFixture?) -> Bool { waitUntil { fixture?.isReady() == true } }
}
