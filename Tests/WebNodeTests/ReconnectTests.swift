// A Redis, or a proxy before one, that takes each connection and then ends it: one outage, and one line about it.

import ClusterSupport
import RedisQueue
import TestSupport
import Testing

@testable import TallyCore
@testable import WebNode

@Suite struct ReconnectTests {
    @Test func connectionsThatDoNotLastAreOneOutage() throws {
        let fixture = try NodeFixture()
        try #require(waitUntil { fixture.isReady() })
        // It has pushed nothing: there is no work for which it could be answered.
        let breaks: UInt64 = 12
        // Whatever it has asked by then, its connection ends.
        try #require(
            try waitUntil(seconds: 60) {
                try fixture.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                return fixture.node.report()[0].statistics.disconnections >= breaks
            })
        let during = fixture.lines.all
        // The connection ended while something was asked, or while nothing was: in two ways at most.
        #expect(during.count { $0.hasPrefix("warning Redis is unreachable") } <= 4)
        #expect(during.count { $0.hasPrefix("warning requests are refused") } == 1)
        #expect(during.count { $0 == "info requests are admitted" } == 0)
        // It ends with an answer to real work.
        try #require(waitUntil { fixture.post("a", wait: 1).0 == 200 })
        #expect(fixture.lines.all.last == "info requests are admitted")
        let lines = fixture.lines.all.count
        try fixture.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        // The next outage is told again.
        try #require(waitUntil { fixture.lines.all.count > lines })
    }
}
