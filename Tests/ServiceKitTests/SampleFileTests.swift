// The settings that the package ships (systemd/tallymill.conf) name every setting there is, with its default: whoever
// adds one adds it there.

import Testing

@testable import ServiceKit

@Suite struct SampleFileTests {
    /// The text of systemd/tallymill.conf, found from this file's own place in the repository.
    private static func sample() throws -> String {
        let root = #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
        let bytes = try FileContent.readIfPresent(
            "/\(root)/systemd/tallymill.conf", maximumBytes: SettingsFile.bytesMax)
        return String(decoding: try #require(bytes, "the sample is missing"), as: UTF8.self)
    }

    @Test func namesEverySettingWithItsDefault() throws {
        let text = try Self.sample()
        // With every setting in force the file is still understood.
        let all = text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
            line.hasPrefix("#TALLYMILL_") ? line.dropFirst() : line
        }
        let file = try SettingsFile(path: "tallymill.conf", content: Array(all.joined(separator: "\n").utf8))
        let settings = try Settings.resolve(command: .web, flags: [:], environment: [:], file: file)
        let named = Set(file.lines.map(\.setting))
        for setting in Setting.table where setting.isAllowedInFile {
            #expect(named.contains(setting), "systemd/tallymill.conf lacks \(setting.variable)")
            guard let line = file.lines.first(where: { $0.setting == setting }), let byDefault = setting.defaultText,
                setting != .dataDir
            else { continue }
            #expect(line.text == byDefault, "\(setting.variable) is shown with another default than \(byDefault)")
        }
        #expect(settings.text(.dataDir) == "/var/lib/tallymill")
    }

    @Test func isInForceAsItIs() throws {
        let file = try SettingsFile(path: "tallymill.conf", content: Array(try Self.sample().utf8))
        let settings = try Settings.resolve(command: .initialize, flags: [:], environment: [:], file: file)
        #expect(settings.text(.redis) == "unix:///run/tallymill-redis/redis.sock")
        #expect(settings.integer(.partitions) == 4)
        #expect(file.lines.count == 3)
    }
}
