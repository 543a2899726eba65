// One outage, few lines: whatever a server says each time.

import ServiceKit
import Testing

@Suite struct OutageReasonsTests {
    @Test func reasonsThatTakeTurnsAreToldOnceEach() {
        var reasons = OutageReasons<String>()
        let told = (0..<1_000).filter { reasons.isNews($0.isMultiple(of: 2) ? "closed" : "reset") }
        #expect(told == [0, 1])
        reasons.end()
        let isTold = reasons.isNews("closed")
        #expect(isTold)
    }

    @Test func reasonsThatDifferEachTimeAreFew() {
        var reasons = OutageReasons<Int>()
        let told = (0..<1_000).filter { reasons.isNews($0) }
        #expect(told == [0, 1, 2, 3])
    }
}
