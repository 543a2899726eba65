// What systemd's journal gets, and who is taken for it.

import Glibc
import Logging
import Testing

@testable import ServiceKit

@Suite struct JournalTests {
    private let event = LogLine.Event(
        milliseconds: 0, level: .warning, label: "consume", message: "waiting\nPRIORITY=0",
        metadata: ["partition": "3", "exit-code": "1"])

    private let fields = """
        MESSAGE=consume: waiting\\nPRIORITY=0 exit-code=1 partition=3
        PRIORITY=4
        SYSLOG_IDENTIFIER=tallymill
        TALLYMILL_LABEL=consume
        TALLYMILL_EXIT_CODE=1
        TALLYMILL_PARTITION=3

        """

    @Test func anEventIsOneDatagramOfFields() throws {
        try withFolder { folder in
            let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
            defer { close(descriptor) }
            let address = try #require(UnixAddress("\(folder)/journal"))
            try #require(address.withPointer { bind(descriptor, $0, $1) } == 0)
            let journal = try #require(JournalSocket(path: "\(folder)/journal"))
            #expect(journal.send(event))
            var buffer = [UInt8](repeating: 0, count: 4096)
            let length = recv(descriptor, &buffer, buffer.count, 0)
            #expect(String(decoding: buffer[..<length], as: UTF8.self) == fields)
        }
    }

    @Test func withoutAJournalTheLineIsNotTaken() throws {
        try withFolder { folder in
            let journal = try #require(JournalSocket(path: "\(folder)/nobody"))
            #expect(!journal.send(event))
        }
    }

    @Test func theJournalIsKnownByItsInode() throws {
        try withFolder { folder in
            let descriptor = open("\(folder)/stream", O_CREAT | O_RDWR | O_CLOEXEC, 0o600)
            defer { close(descriptor) }
            var status = stat()
            try #require(fstat(descriptor, &status) == 0)
            let stream = "\(status.st_dev):\(status.st_ino)"
            #expect(JournalSocket.isJournal(descriptor, environment: stream))
            #expect(
                LogOutput(format: .auto, level: .info, descriptor: descriptor, journalStream: stream).format == .journal
            )
            for other in [nil, "", "1:2:3", "\(status.st_dev):\(status.st_ino + 1)", "\(status.st_dev)"] {
                #expect(!JournalSocket.isJournal(descriptor, environment: other))
                let output = LogOutput(format: .auto, level: .info, descriptor: descriptor, journalStream: other)
                #expect(output.format == .json)
            }
        }
    }

    @Test func aTerminalGetsText() throws {
        let side = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)
        try #require(side >= 0)
        defer { close(side) }
        #expect(LogOutput(format: .auto, level: .info, descriptor: side).format == .text)
        #expect(LogOutput(format: .json, level: .info, descriptor: side).format == .json)
    }
}
