// The README's table of statuses says what the code says of each.

import ServiceKit
import Testing

@testable import HTTPFront

@Suite struct StatusDocumentTests {
    @Test func theReadmeShowsEveryStatus() throws {
        let path = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/") + "/README.md"
        let page = try #require(try FileContent.readIfPresent(path, maximumBytes: 1 << 20))
        let lines = String(decoding: page, as: UTF8.self).split(separator: "\n")
        for status in Status.allCases {
            guard let cause = status.cause else { continue }
            let row = "| \(status.rawValue) | \(cause) |"
            #expect(lines.contains(row[...]), "missing in the README: \(row)")
        }
    }
}
