// The page "What one client can cost" says what the settings and the constants say.

import Glibc
import ServiceKit
import TallyCore
import Testing

@testable import HTTPFront

@Suite struct ClientCostPageTests {
    /// The bounds that no setting changes, as the page writes them.
    private static let constants: [String: String] = {
        let limits = HTTPLimits()
        return [
            "HTTPLimits.requestLineBytes": bytes(limits.requestLineBytes),
            "HTTPLimits.headerBytes": bytes(limits.headerBytes),
            "HTTPLimits.headMilliseconds": seconds(limits.headMilliseconds),
            "HTTPLimits.bodyMilliseconds": seconds(limits.bodyMilliseconds),
            "HTTPLimits.idleMilliseconds": seconds(limits.idleMilliseconds),
            "HTTPLimits.lingerMilliseconds": seconds(limits.lingerMilliseconds),
            "HTTPLimits.unsentBytes": bytes(limits.unsentBytes),
            "Limits.keyBytesMax": "\(Limits.keyBytesMax)",
            "Limits.waitMillisecondsMax": seconds(Limits.waitMillisecondsMax),
            "Limits.transactionBytes": bytes(Limits.transactionBytes),
            "Limits.cautiousTransactionBytes": bytes(Limits.cautiousTransactionBytes),
            "Limits.answerBytes": bytes(Limits.answerBytes),
            "Limits.flightAnswerBytes": bytes(Limits.flightAnswerBytes),
            "Limits.answerLineBytesMax": bytes(Limits.answerLineBytesMax),
        ]
    }()

    /// Settings that bound what a client can take.
    private static let settings: [Setting] = [
        .maxConnections, .connectionsPerAddress, .requestBodyBytes, .requestIncrements, .unansweredRequests,
        .requestMemoryBytes, .outboxBytes, .queueBytes, .allowedHosts,
    ]

    private static func bytes(_ count: Int) -> String {
        count >= 1 << 20 ? "\(count >> 20) MiB" : "\(count >> 10) KiB"
    }

    private static func seconds(_ milliseconds: UInt64) -> String { "\(milliseconds / 1_000) s" }

    /// What is set by what: the bound in each row, by the third column.
    private static func bounds() throws -> [String: String] {
        let root = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        let path = root + "/Sources/TallyCore/TallyCore.docc/ClientCost.md"
        let page = String(
            decoding: try #require(try FileContent.readIfPresent(path, maximumBytes: 1 << 16)), as: UTF8.self)
        var bounds: [String: String] = [:]
        for row in page.split(separator: "\n") where row.hasPrefix("| ") {
            let cells = row.split(separator: "|").map { cell in
                cell.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed()
            }.map { String($0) }
            try #require(cells.count == 4, "\(row)")
            let setBy = cells[2].filter { $0 != "`" }
            if setBy.hasPrefix("--") || setBy.contains("imits.") { bounds[setBy] = cells[1] }
        }
        return bounds
    }

    @Test func settingsAreWhatThePageSays() throws {
        let bounds = try Self.bounds()
        for setting in Self.settings {
            let bound = try #require(bounds[setting.flag], "\(setting.flag) is not on the page")
            let value = setting.defaultText.map { "`\($0)`" } ?? "as many as there may be"
            if setting == .allowedHosts { continue }
            #expect(bound.hasPrefix(value), "\(setting.flag): \(bound), not \(value)")
        }
        for flag in bounds.keys where flag.hasPrefix("--") {
            #expect(Setting.table.contains { $0.flag == flag }, "\(flag) is no setting")
        }
    }

    @Test func constantsAreWhatThePageSays() throws {
        let bounds = try Self.bounds()
        for (name, value) in Self.constants {
            #expect(bounds[name] == value, "\(name)")
        }
        for name in bounds.keys where name.contains("imits.") {
            #expect(Self.constants[name] != nil, "\(name) is not compared")
        }
    }
}
