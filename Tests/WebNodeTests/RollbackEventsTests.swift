// A rollback that several loops notice is one; one that a loop notices again is another.

import Testing

@testable import WebNode

@Suite struct RollbackEventsTests {
    @Test func loopsOfOneNode() {
        let events = RollbackEvents()
        #expect(events.isNews(from: 0, at: 1_000))
        #expect(!events.isNews(from: 1, at: 11_000))
        #expect(events.isNews(from: 0, at: 12_000), "it has met the first one already")
        #expect(!events.isNews(from: 1, at: 12_000))
        #expect(events.isNews(from: 2, at: 12_000 + RollbackEvents.joinMilliseconds))
    }
}
