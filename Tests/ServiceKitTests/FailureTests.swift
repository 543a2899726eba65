// Exit codes are a contract with scripts and units, and a failure's report is what an operator reads.

import Glibc
import Logging
import Testing

@testable import ServiceKit

@Suite struct FailureTests {
    @Test func exitCodesAreTheDocumentedOnes() {
        #expect(ExitCode.allCases.map(\.rawValue) == [0, 1, 3, 64, 65, 69, 74, 75, 78])
        #expect(ExitCode.allCases.filter { !$0.isWorthRestarting }.map(\.rawValue) == [64, 65, 74, 78])
    }

    @Test func reports() {
        let full = Failure(.corrupt, "the header is damaged", at: "/x", advice: "Restore it.")
        #expect(full.report == "tallymill: /x: the header is damaged\n  Restore it.")
        #expect("\(full)" == "/x: the header is damaged")
        #expect(
            full.metadata == [
                "exit_code": "65", "error": "the header is damaged", "where": "/x", "advice": "Restore it.",
            ])
        let bare = Failure(cannot: "sync", errno: ENOSPC)
        #expect(bare.report == "tallymill: cannot sync: No space left on device")
        #expect(bare.code == .ioError)
    }
}
