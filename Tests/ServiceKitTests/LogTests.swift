// The two forms of a log line, byte for byte, their bounds, and that a real logger writes them.

import Glibc
import Logging
import Testing

@testable import ServiceKit

@Suite struct LogTests {
    private func event(_ message: String, _ metadata: Logger.Metadata = [:], label: String = "web") -> LogLine.Event {
        .init(milliseconds: 0, level: .info, label: label, message: message, metadata: metadata)
    }

    private func text(_ event: LogLine.Event, colour: Bool = false) -> String {
        String(decoding: LogLine.text(event, colour: colour), as: UTF8.self)
    }

    private func json(_ event: LogLine.Event) -> String {
        String(decoding: LogLine.json(event), as: UTF8.self)
    }

    @Test func textForm() {
        #expect(text(event("ready")) == "1970-01-01T00:00:00.000Z info web: ready\n")
        let fields: Logger.Metadata = [
            "b": "two words", "a": "1", "c": "", "d": "x=y", "e": "say \"hi\"\\", "f": .stringConvertible(7),
            "g": "line\nbreak\u{1B}[2J", "h": "ü",
        ]
        #expect(
            text(event("a \"b\"\nc\u{85}", fields)) == """
                1970-01-01T00:00:00.000Z info web: a "b"\\nc\\u0085 a=1 b="two words" c="" d="x=y" \
                e="say \\"hi\\"\\\\" f=7 g="line\\nbreak\\u001b[2J" h=ü

                """)
        #expect(text(event("x"), colour: true) == "1970-01-01T00:00:00.000Z \u{1B}[32minfo\u{1B}[0m web: x\n")
    }

    @Test func jsonForm() {
        #expect(
            json(event("ready"))
                == "{\"time\":\"1970-01-01T00:00:00.000Z\",\"level\":\"info\","
                + "\"label\":\"web\",\"message\":\"ready\"}\n")
        let fields: Logger.Metadata = ["b": ["x": "1", "a": ["y", "z"]], "a": "q\"\\\n\u{1}"]
        #expect(
            json(event("m", fields)).hasSuffix(
                ",\"metadata\":{\"a\":\"q\\\"\\\\\\n\\u0001\",\"b\":{\"a\":[\"y\",\"z\"],\"x\":\"1\"}}}\n"))
    }

    @Test func linesAreBounded() {
        let long = String(repeating: "é", count: 5_000)
        var fields: Logger.Metadata = [:]
        for index in 0..<9 { fields["k\(index)"] = "\(long)" }
        let plain = LogLine.text(event(long, fields), colour: true)
        #expect(plain.count <= 4096)
        #expect(String(validating: plain, as: UTF8.self)?.hasSuffix("… cut=true\n") == true)
        let object = LogLine.json(event(long, fields, label: long))
        #expect(object.count <= 4096)
        #expect(String(validating: object, as: UTF8.self)?.hasSuffix("},\"cut\":true}\n") == true)
        #expect(text(event(long)).utf8.count <= 40 + LogLine.messageBytesMax)
    }

    @Test func theBoundOfALineIsExact() {
        func line(lastBytes: Int) -> String {
            var fields: Logger.Metadata = ["k4": "does not fit"]
            for index in 0..<3 { fields["k\(index)"] = "\(String(repeating: "x", count: 1024))" }
            fields["k3"] = "\(String(repeating: "y", count: lastBytes))"
            return text(event("m", fields))
        }
        // 36 bytes before the fields, 3 x (4 + 1024), 4 + 962, and 10 for " cut=true" and LF: 4096.
        #expect(line(lastBytes: 962).utf8.count == 4096)
        #expect(line(lastBytes: 962).hasSuffix("y cut=true\n"))
        #expect(line(lastBytes: 963).utf8.count == 4096 - 966)
        #expect(line(lastBytes: 963).hasSuffix("x cut=true\n"))
    }

    @Test func aTextIsCutAtItsBoundAndNotBefore() {
        func escaped(_ text: String, _ bound: Int) -> String {
            var bytes: [UInt8] = []
            LogLine.appendEscaped(text, for: .json, bytesMax: bound, to: &bytes)
            return String(decoding: bytes, as: UTF8.self)
        }
        #expect(escaped("12345678", 8) == "12345678")
        #expect(escaped("123456789", 8) == "12345…")
        #expect(escaped("1234\n\n\n", 8) == "1234…")
        #expect(escaped("1234\n\n", 8) == "1234\\n\\n")
        #expect(escaped("ééééé", 8) == "éé…")
    }

    @Test func loggersWriteToTheirDescriptor() throws {
        var ends: [Int32] = [-1, -1]
        #expect(pipe(&ends) == 0)
        let reader = LineReader(owning: ends[0])
        let output = LogOutput(format: .text, level: .notice, descriptor: ends[1], clock: { 1_000 })
        var logger = output.logger("consumer")
        logger[metadataKey: "partition"] = "3"
        logger.info("not written")
        logger.notice("written", metadata: ["n": "1"])
        logger.error("failed", error: Failure(.ioError, "cannot write", at: "/x"))
        SystemCall.close(ends[1])
        #expect(
            try lines(reader) == [
                "1970-01-01T00:00:01.000Z notice consumer: written n=1 partition=3",
                "1970-01-01T00:00:01.000Z error consumer: failed error=\"/x: cannot write\" partition=3",
            ])
    }

    @Test func loggersFollowTheLevelOfTheirOutput() throws {
        var ends: [Int32] = [-1, -1]
        #expect(pipe(&ends) == 0)
        let reader = LineReader(owning: ends[0])
        let output = LogOutput(format: .text, level: .warning, descriptor: ends[1], clock: { 0 })
        let logger = output.logger("web")
        var own = output.logger("own")
        own.logLevel = .error
        logger.info("too little")
        output.level = .info
        logger.info("enough")
        own.info("never")
        SystemCall.close(ends[1])
        #expect(try lines(reader) == ["1970-01-01T00:00:00.000Z info web: enough"])
    }

    @Test func aProcessLogsToStandardError() throws {
        var plan = ChildProcess.Plan(executable: try probePath(), arguments: ["log", "json"])
        plan.errorOutput = .pipe
        let child = try ChildProcess.spawn(plan)
        let line = try lines(child.errorOutput).first ?? ""
        #expect(line.hasPrefix("{\"time\":\"20"))
        let rest = "\"level\":\"info\",\"label\":\"probe\",\"message\":\"hello\",\"metadata\":{\"note\":\"two words\"}}"
        #expect(line.hasSuffix(rest))
        #expect(try child.wait() == .code(0))
    }

    @Test func settingsChooseTheForm() throws {
        let settings = try Settings.resolve(
            command: .web, flags: ["log-format": "json", "log-level": "error"], environment: [:], file: nil)
        let output = LogOutput(settings, environment: [:])
        #expect(output.format == .json)
        #expect(output.level == .error)
        #expect(Setting.logLevel.kind == .choice(Logger.Level.allCases.map(\.rawValue)))
        #expect(Setting.logFormat.kind == .choice(LogOutput.Format.allCases.map(\.rawValue)))
    }
}
