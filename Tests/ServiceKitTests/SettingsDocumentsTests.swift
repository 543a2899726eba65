// The README's table of settings says what the table in code says.

import Glibc
import Testing

@testable import ServiceKit

@Suite struct SettingsDocumentsTests {
    private let root = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")

    private func content(of path: String) throws -> [UInt8] {
        let descriptor = try #require(SystemCall.open("\(root)/\(path)", O_RDONLY).value)
        defer { SystemCall.close(descriptor) }
        return try #require(SystemCall.readUpTo(1 << 20, from: descriptor).value)
    }

    @Test func theReadmeShowsEveryExitCode() throws {
        let readme = String(decoding: try content(of: "README.md"), as: UTF8.self)
        for code in ExitCode.allCases {
            let row = "| \(code.rawValue) | \(code.meaning) |"
            #expect(readme.contains(row), "missing in the README: \(row)")
        }
    }

    @Test func theReadmeShowsEverySetting() throws {
        let readme = String(decoding: try content(of: "README.md"), as: UTF8.self)
        for setting in Setting.table {
            let fallback = setting.defaultText.map { "`\($0)`" } ?? setting.absence ?? ""
            let row = "| `\(setting.flag)` | \(fallback) | \(setting.isReloadable ? "yes" : "") | \(setting.help) |"
            #expect(readme.contains(row), "missing in the README: \(row)")
        }
    }
}

extension SystemCall.Outcome {
    fileprivate var value: Value? {
        if case .done(let value) = self { value } else { nil }
    }
}
