// What an operator reads when a setting is wrong, word for word: a wrong value of every key, and every wrong line.

import Testing

@testable import ServiceKit

@Suite struct SettingsMessageTests {
    private func report(
        command: CommandName = .web, flags: [String: String] = [:], environment: [String: String] = [:],
        file: String = ""
    ) -> (text: String, code: ExitCode)? {
        do throws(SettingsError) {
            let file = try SettingsFile(path: "t.conf", content: Array(file.utf8))
            let settings = try Settings.resolve(
                command: command, flags: flags, environment: environment, file: file)
            Issue.record("nothing is wrong with \(settings)")
            return nil
        } catch {
            return (error.report, error.code)
        }
    }

    @Test func aWrongFlagIsAUsageError() {
        let found = report(flags: ["outbox-bytes": "5"])
        #expect(found?.code == .usage)
        #expect(
            found?.text == """
                tallymill: --outbox-bytes is "5": must be a number of bytes from 1MiB to 1024GiB, \
                plain or with KiB, MiB or GiB
                  Correct it, or remove it for the default: 256MiB.
                """)
    }

    @Test func aWrongVariableIsAConfigurationError() {
        let found = report(environment: ["TALLYMILL_EVENT_LOOPS": "257"])
        #expect(found?.code == .configuration)
        #expect(
            found?.text == """
                tallymill: TALLYMILL_EVENT_LOOPS in the environment is "257": must be a whole number from 1 to 256
                  Correct it, or remove it for the default: one a processor core.
                """)
    }

    @Test func anEmptyVariableIsAWrongValue() {
        #expect(
            report(environment: ["TALLYMILL_NAMESPACE": ""])?.text.hasPrefix(
                "tallymill: TALLYMILL_NAMESPACE in the environment is \"\": must be 1 to 64 letters") == true)
    }

    static let wrong: [(String, String, String)] = [
        ("REDIS", "http://u:secret@h", "is \"http://u:***@h\": must be a URL that begins with redis:// or unix://"),
        ("NAMESPACE", "a:b", "is \"a:b\": must be 1 to 64 letters, digits, '.', '_' or '-'"),
        ("LOG_LEVEL", "loud", "is \"loud\": must be one of trace, debug, info, notice, warning, error, critical"),
        ("LOG_FORMAT", "xml", "is \"xml\": must be one of auto, text, json, journal"),
        ("ADMIN_HOST", "a b", "is \"a b\": must be a host's name or address, such as 127.0.0.1 or ::1"),
        ("ADMIN_PORT", "65536", "is \"65536\": must be a whole number from 0 to 65535"),
        ("PARTITIONS", "0", "is \"0\": must be a whole number from 1 to 1024"),
        ("PARTITIONS", "1025", "is \"1025\": must be a whole number from 1 to 1024"),
        ("ALLOW_VOLATILE_REDIS", "yes", "is \"yes\": must be true or false"),
        ("IDEMPOTENCY_RETENTION", "367d", "is \"367d\": must be a time from 1s to 366d, with ms, s, m, h or d"),
        ("IDEMPOTENCY_RETENTION", "999ms", "is \"999ms\": must be a time from 1s to 366d, with ms, s, m, h or d"),
        (
            "LISTEN", "3333",
            "is \"3333\": must be HOST:PORT with a port from 0 to 65535, such as 127.0.0.1:3333 or [::1]:3333"
        ),
        ("EVENT_LOOPS", "0", "is \"0\": must be a whole number from 1 to 256"),
        ("OUTBOX_BYTES", "1025GiB", Self.bytes("1025GiB", "1MiB", "1024GiB")),
        ("QUEUE_BYTES", "1048575", Self.bytes("1048575", "1MiB", "1024GiB")),
        ("BATCH_BYTES", "65MiB", Self.bytes("65MiB", "1KiB", "64MiB")),
        ("REQUEST_BODY_BYTES", "1023", Self.bytes("1023", "1KiB", "64MiB")),
        ("REQUEST_INCREMENTS", "1000001", "is \"1000001\": must be a whole number from 1 to 1000000"),
        ("REQUEST_MEMORY_BYTES", "1048575", Self.bytes("1048575", "1MiB", "1024GiB")),
        ("UNANSWERED_REQUESTS", "65537", "is \"65537\": must be a whole number from 1 to 65536"),
        ("MAX_CONNECTIONS", "1e3", "is \"1e3\": must be a whole number from 1 to 1000000"),
        ("CONNECTIONS_PER_ADDRESS", "0", "is \"0\": must be a whole number from 1 to 1000000"),
        (
            "ALLOWED_HOSTS", "a,,b",
            "is \"a,,b\": must be names or addresses of hosts with commas between, such as tally.example.org,10.0.0.7"
        ),
        (
            "REDIS_PASSWORD_FILE", "a\tb",
            "is \"a\\tb\": must be a path of 1 to 4095 bytes without control characters"
        ),
        ("TOKENS_FILE", "", "is \"\": must be a path of 1 to 4095 bytes without control characters"),
        ("TOKEN_FILE", "", "is \"\": must be a path of 1 to 4095 bytes without control characters"),
        ("DATA_DIR", "", "is \"\": must be a path of 1 to 4095 bytes without control characters"),
    ]

    private static func bytes(_ text: String, _ least: String, _ most: String) -> String {
        "is \"\(text)\": must be a number of bytes from \(least) to \(most), plain or with KiB, MiB or GiB"
    }

    @Test(arguments: wrong)
    func aWrongValueInTheFile(tail: String, value: String, sentence: String) {
        let found = report(file: "# one\nTALLYMILL_\(tail)=\(value)\n")
        #expect(found?.code == .configuration)
        #expect(
            found?.text.split(separator: "\n").first.map(String.init)
                == "tallymill: t.conf:2: TALLYMILL_\(tail) \(sentence)")
    }

    @Test func everyKeyHasAWrongValueAbove() {
        let tried = Set(Self.wrong.map { "TALLYMILL_\($0.0)" })
        #expect(Set(Setting.table.filter(\.isAllowedInFile).map(\.variable)).subtracting(tried) == [])
    }

    @Test(arguments: [
        ("TALLYMILL_OUTBOX_BYTE=1", "unknown key \"TALLYMILL_OUTBOX_BYTE\"", "Did you mean TALLYMILL_OUTBOX_BYTES?"),
        ("COLOUR=1", "unknown key \"COLOUR\"", "`tallymill config show` lists the keys; remove this one."),
        ("outbox", "no '=' in \"outbox\"", "A line is KEY=VALUE, a comment that begins with '#', or empty."),
        (" # x", "no '=' in \" # x\"", "A line is KEY=VALUE, a comment that begins with '#', or empty."),
        (
            "TALLYMILL_CONFIG=/x", "TALLYMILL_CONFIG cannot be set in a file",
            "Use --config, or TALLYMILL_CONFIG in the environment."
        ),
        (
            "TALLYMILL_LOG_LEVEL= info", "TALLYMILL_LOG_LEVEL has spaces around its value",
            "Write KEY=VALUE without spaces."
        ),
        (
            "TALLYMILL_LOG_LEVEL=info\t", "TALLYMILL_LOG_LEVEL has spaces around its value",
            "Write KEY=VALUE without spaces."
        ),
        (
            "TALLYMILL_LOG_LEVEL=\"info\"", "TALLYMILL_LOG_LEVEL has a quoted value",
            "Values are taken as they are: remove the quotes."
        ),
        (
            "TALLYMILL_LOG_LEVEL=info # loud", "TALLYMILL_LOG_LEVEL has a comment behind its value",
            "Put the comment on a line of its own."
        ),
        (
            "TALLYMILL_LOG_LEVEL=info\r", "the line ends with a carriage return",
            "Save the file with Unix line ends."
        ),
    ])
    func aWrongLine(line: String, sentence: String, advice: String) {
        let found = report(file: "\n\(line)\n")
        #expect(found?.code == .configuration)
        #expect(found?.text == "tallymill: t.conf:2: \(sentence)\n  \(advice)")
    }

    @Test func aRepeatedKey() {
        let found = report(file: "TALLYMILL_LOG_LEVEL=info\n#\nTALLYMILL_LOG_LEVEL=info")
        #expect(
            found?.text == """
                tallymill: t.conf:3: TALLYMILL_LOG_LEVEL is already set in line 1
                  Keep one of the two lines.
                """)
    }

    @Test func filesThatAreNoSettings() throws {
        let longest = [UInt8](repeating: UInt8(ascii: "#"), count: SettingsFile.bytesMax)
        #expect(try SettingsFile(path: "t.conf", content: longest).lines.isEmpty)
        let long = #expect(throws: SettingsError.self) { try SettingsFile(path: "t.conf", content: longest + [35]) }
        #expect(long?.problems.first?.sentence == "t.conf: longer than 64KiB")
        let binary = #expect(throws: SettingsError.self) { try SettingsFile(path: "t.conf", content: [0xFF]) }
        #expect(binary?.problems.first?.sentence == "t.conf: not valid UTF-8")
    }

    @Test func unknownNamesElsewhere() throws {
        let variables = ["TALLYMILL_REDDIS": "x", "TALLYMILL_PARENT_PID": "1", "TALLYMILL_PORT": "1", "PATH": "/"]
        let settings = try Settings.resolve(command: .web, flags: [:], environment: variables, file: nil)
        #expect(settings.warnings.map(\.sentence).count == 2)
        #expect(
            settings.warnings.last?.report == """
                tallymill: environment: unknown key "TALLYMILL_REDDIS"
                  Did you mean TALLYMILL_REDIS?
                """)
        let misplaced = report(command: .report, flags: ["listen": "h:1"])
        #expect(misplaced?.code == .usage)
        #expect(
            misplaced?.text == """
                tallymill: `tallymill report` has no flag --listen
                  `tallymill report --help` lists them.
                """)
        #expect(report(flags: ["listne": "h:1"])?.text.hasSuffix("Did you mean --listen?") == true)
    }

    /// A line that is not understood hides no value that is wrong.
    @Test func everyMistakeOfAFileIsTold() {
        let found = report(file: "outbox\nTALLYMILL_LOG_LEVEL=x\nTALLYMILL_LOG_LEVEL=info\nCOLOUR=1\n")
        let places = found?.text.split(separator: "\n").filter { $0.hasPrefix("tallymill: ") }.map { $0.prefix(19) }
        #expect(places?.sorted() == [1, 2, 3, 4].map { "tallymill: t.conf:\($0)" })
    }

    @Test func allProblemsAreTold() {
        let found = report(
            flags: ["listen": "h"], environment: ["TALLYMILL_LOG_LEVEL": "x"], file: "TALLYMILL_LISTEN=y\n")
        #expect(found?.code == .usage)
        #expect(found?.text.split(separator: "\n").count { $0.hasPrefix("tallymill: ") } == 3)
        #expect(found?.text.hasPrefix("tallymill: --listen is \"h\"") == true)
    }

    @Test func aSecretIsNeverShown() {
        let setting = Setting("token", .integer(0...1), isSecret: true, help: "a secret")
        let failure = Failure.badValue("hunter2", of: setting, from: .environment)
        #expect(failure.sentence.hasPrefix("TALLYMILL_TOKEN in the environment is a value that is not shown: must be"))
        #expect(!failure.report.contains("hunter2"))
    }
}
