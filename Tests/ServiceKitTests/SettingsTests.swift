// Which source wins, and that each value knows where it came from.

import Testing

@testable import ServiceKit

@Suite struct SettingsTests {
    static func file(_ text: String) throws -> SettingsFile {
        try SettingsFile(path: "t.conf", content: Array(text.utf8))
    }

    @Test func defaultsOfAllSettings() throws {
        let settings = try Settings.resolve(command: .web, flags: [:], environment: [:], file: nil)
        #expect(settings.optionalText(.redis) == nil)
        #expect(settings.optionalText(.redisPasswordFile) == nil)
        #expect(settings.text(.namespace) == "tallymill")
        #expect(settings.text(.dataDir) == "./tallymill-data")
        #expect(settings.text(.logLevel) == "info")
        #expect(settings.text(.logFormat) == "auto")
        #expect(settings.endpoint(.listen) == Endpoint(host: "127.0.0.1", port: 3333))
        #expect(settings.optionalInteger(.eventLoops) == nil)
        #expect(settings.integer(.partitions) == 4)
        #expect(settings.bytes(.outboxBytes) == 268_435_456)
        #expect(settings.bytes(.queueBytes) == 268_435_456)
        #expect(settings.bytes(.batchBytes) == 1_048_576)
        #expect(settings.bytes(.requestBodyBytes) == 1_048_576)
        #expect(settings.integer(.requestIncrements) == 10_000)
        #expect(settings.integer(.unansweredRequests) == 128)
        #expect(settings.integer(.maxConnections) == 20_000)
        #expect(settings.milliseconds(.idempotencyRetention) == 604_800_000)
        #expect(!settings.isOn(.allowVolatileRedis))
        for setting in Setting.table { #expect(settings.origin(of: setting) == .builtIn) }
    }

    @Test func flagsBeforeEnvironmentBeforeFileBeforeDefault() throws {
        let file = try Self.file(
            "TALLYMILL_BATCH_BYTES=1KiB\n\nTALLYMILL_QUEUE_BYTES=3MiB\nTALLYMILL_OUTBOX_BYTES=4MiB\n")
        let environment = ["TALLYMILL_BATCH_BYTES": "2KiB", "TALLYMILL_QUEUE_BYTES": "2MiB", "HOME": "/"]
        let settings = try Settings.resolve(
            command: .web, flags: ["batch-bytes": "4KiB"], environment: environment, file: file)
        #expect(settings.bytes(.batchBytes) == 4096)
        #expect(settings.origin(of: .batchBytes) == .flag)
        #expect(settings.bytes(.queueBytes) == 2 << 20)
        #expect(settings.origin(of: .queueBytes) == .environment)
        #expect(settings.bytes(.outboxBytes) == 4 << 20)
        #expect(settings.origin(of: .outboxBytes) == .file(path: "t.conf", line: 4))
        #expect("\(settings.origin(of: .outboxBytes))" == "t.conf:4")
        #expect(settings.origin(of: .requestBodyBytes) == .builtIn)
    }

    @Test func theStateDirectoryIsADefault() throws {
        let environment = ["STATE_DIRECTORY": "/var/lib/tallymill:/var/lib/other"]
        let alone = try Settings.resolve(command: .report, flags: [:], environment: environment, file: nil)
        #expect(alone.text(.dataDir) == "/var/lib/tallymill")
        #expect("\(alone.origin(of: .dataDir))" == "environment, STATE_DIRECTORY")
        let file = try Self.file("TALLYMILL_DATA_DIR=/srv")
        let both = try Settings.resolve(command: .report, flags: [:], environment: environment, file: file)
        #expect(both.text(.dataDir) == "/srv")
    }

    @Test func aCredentialIsADefault() throws {
        try withFolder { folder in
            let environment = ["CREDENTIALS_DIRECTORY": folder]
            let without = try Settings.resolve(command: .web, flags: [:], environment: environment, file: nil)
            #expect(without.optionalText(.redisPasswordFile) == nil)
            try AtomicFile.write(Array("secret".utf8), to: "\(folder)/redis-password")
            let with = try Settings.resolve(command: .web, flags: [:], environment: environment, file: nil)
            #expect(with.optionalText(.redisPasswordFile) == "\(folder)/redis-password")
            #expect("\(with.origin(of: .redisPasswordFile))" == "credential redis-password")
            let file = try Self.file("TALLYMILL_REDIS_PASSWORD_FILE=/srv/password")
            let both = try Settings.resolve(command: .web, flags: [:], environment: environment, file: file)
            #expect(both.text(.redisPasswordFile) == "/srv/password")
        }
    }

    @Test func aFileServesAllCommands() throws {
        let file = try Self.file("TALLYMILL_LISTEN=[::1]:80\nTALLYMILL_ALLOW_VOLATILE_REDIS=true\n")
        let settings = try Settings.resolve(command: .report, flags: [:], environment: [:], file: file)
        #expect(settings.endpoint(.listen) == Endpoint(host: "::1", port: 80))
        #expect(settings.isOn(.allowVolatileRedis))
    }

    @Test func loadReadsTheFileThatIsNamed() throws {
        try withFolder { folder in
            try AtomicFile.write(Array("# limits\nTALLYMILL_BATCH_BYTES=2MiB\n".utf8), to: "\(folder)/a.conf")
            let byFlag = try Settings.load(command: .web, flags: ["config": "\(folder)/a.conf"], environment: [:])
            #expect(byFlag.origin(of: .batchBytes) == .file(path: "\(folder)/a.conf", line: 2))
            let byVariable = try Settings.load(
                command: .web, flags: [:], environment: ["TALLYMILL_CONFIG": "\(folder)/a.conf"])
            #expect(byVariable.bytes(.batchBytes) == 2 << 20)
            let error = #expect(throws: SettingsError.self) {
                try Settings.load(command: .web, flags: ["config": "\(folder)/b.conf"], environment: [:])
            }
            #expect(error?.code == .configuration)
            #expect(
                error?.report == """
                    tallymill: \(folder)/b.conf: cannot read the file of settings: No such file or directory
                      Correct --config or TALLYMILL_CONFIG, or the file's permissions.
                    """)
        }
    }

    @Test func childrenInheritWhatIsNotDefault() throws {
        let settings = try Settings.resolve(
            command: .up, flags: ["outbox-bytes": "8MiB", "partitions": "2"],
            environment: ["TALLYMILL_REDIS": "redis://u:pw@h:1", "TALLYMILL_LOG_LEVEL": "debug"], file: nil)
        #expect(
            settings.variables(for: .web) == [
                "TALLYMILL_OUTBOX_BYTES": "8MiB", "TALLYMILL_REDIS": "redis://u:pw@h:1", "TALLYMILL_LOG_LEVEL": "debug",
            ])
        #expect(settings.variables(for: .consume).keys.sorted() == ["TALLYMILL_LOG_LEVEL", "TALLYMILL_REDIS"])
    }

    @Test func shownValuesHidePasswords() throws {
        let settings = try Settings.resolve(
            command: .status, flags: [:], environment: ["TALLYMILL_REDIS": "redis://user:p:w@x@host:6379/2"], file: nil)
        let entry = settings.entries.first { $0.setting == .redis }
        #expect(entry?.shownText == "redis://user:***@host:6379/2")
        #expect(entry?.origin == .environment)
        #expect(Setting.maskingPassword(in: "redis://host:6379") == "redis://host:6379")
        #expect(Setting.maskingPassword(in: "redis://:pw@host") == "redis://:***@host")
        #expect(Setting.maskingPassword(in: "pw@host") == "***@host")
        #expect(Setting.maskingPassword(in: "a@b://c") == "***@b://c")
    }

    @Test func theTableIsSound() {
        #expect(Setting.table.count == 26)
        #expect(Set(Setting.table.map(\.name)).count == Setting.table.count)
        for setting in Setting.table {
            #expect(setting.name.utf8.allSatisfy { (97...122).contains($0) || $0 == 45 }, "\(setting.name)")
            if let text = setting.defaultText { #expect(setting.kind.parse(text) != nil, "\(setting.name)") }
            #expect((setting.defaultText == nil) != (setting.absence == nil), "\(setting.name)")
            #expect(!setting.help.hasSuffix(".") && setting.help.count <= 90, "\(setting.name)")
            #expect(Setting.named(setting.name) == setting)
            #expect(Setting.ofVariable(setting.variable) == setting)
        }
        #expect(Setting.outboxBytes.flag == "--outbox-bytes")
        #expect(Setting.outboxBytes.variable == "TALLYMILL_OUTBOX_BYTES")
        #expect(Setting.all(of: .report).map(\.name).last == "log-format")
    }
}
