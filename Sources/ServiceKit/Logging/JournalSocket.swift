// The way to systemd's journal with fields of their own: one datagram an event, of lines FIELD=value. journalctl then
// finds events by field (`journalctl TALLYMILL_PARTITION=3`), and shows the priority's colour.
//
// Whether stderr is the journal at all says JOURNAL_STREAM, the device and inode of the stream that systemd made.
// Sources: systemd's "Native Journal Protocol", and systemd.exec(5) for JOURNAL_STREAM.

import Glibc
import Logging

/// Where events go when stderr is the journal.
struct JournalSocket: Sendable {
    static let path = "/run/systemd/journal/socket"
    private static let identifier = "tallymill"

    /// Non-blocking: a journal that does not keep up loses events, and the work goes on. Never closed.
    private let descriptor: Int32
    private let path: String

    /// nil where the system has no socket left.
    init?(path: String = JournalSocket.path) {
        let kind = Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        descriptor = socket(AF_UNIX, kind, 0)
        self.path = path
        if descriptor < 0 { return nil }
    }

    /// Whether a descriptor is the stream that systemd connected to the journal.
    static func isJournal(_ descriptor: Int32, environment stream: String?) -> Bool {
        guard let parts = stream?.split(separator: ":"), parts.count == 2 else { return false }
        var status = stat()
        return fstat(descriptor, &status) == 0 && parts[0] == "\(status.st_dev)" && parts[1] == "\(status.st_ino)"
    }

    /// Sends one event; false if the journal did not take it.
    func send(_ event: LogLine.Event) -> Bool {
        guard let address = UnixAddress(path) else { return false }
        let bytes = Self.fields(of: event)
        return address.withPointer { pointer, length in
            sendto(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL), pointer, length) == bytes.count
        }
    }

    /// Fields of our own begin with TALLYMILL_; the others are systemd.journal-fields(7)'s.
    static func fields(of event: LogLine.Event) -> [UInt8] {
        var bytes: [UInt8] = []
        let reason = event.metadata.sorted { $0.key < $1.key }.map { " \($0.key)=\(LogLine.plainText(of: $0.value))" }
        append("MESSAGE", "\(event.label): \(event.message)\(reason.joined())", to: &bytes)
        append("PRIORITY", "\(priority(of: event.level))", to: &bytes)
        append("SYSLOG_IDENTIFIER", identifier, to: &bytes)
        append("TALLYMILL_LABEL", event.label, to: &bytes)
        for (key, value) in event.metadata.sorted(by: { $0.key < $1.key }) {
            append("TALLYMILL_\(fieldName(key))", LogLine.plainText(of: value), to: &bytes)
        }
        return bytes
    }

    /// Escaped, so that no value can begin another field.
    private static func append(_ name: String, _ value: String, to bytes: inout [UInt8]) {
        bytes += "\(name)=".utf8
        LogLine.appendEscaped(value, for: .plainText, bytesMax: LogLine.messageBytesMax, to: &bytes)
        bytes.append(UInt8(ascii: "\n"))
    }

    private static func fieldName(_ key: String) -> String {
        let allowed = key.utf8.map { byte -> UInt8 in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"): byte - 32
            case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"): byte
            default: UInt8(ascii: "_")
            }
        }
        return String(decoding: allowed.prefix(50), as: UTF8.self)
    }

    /// As syslog(3) counts them.
    private static func priority(of level: Logger.Level) -> Int {
        switch level {
        case .trace, .debug: 7
        case .info: 6
        case .notice: 5
        case .warning: 4
        case .error: 3
        case .critical: 2
        }
    }
}
