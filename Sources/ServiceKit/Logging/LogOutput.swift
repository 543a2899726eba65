// Where the log goes and in which form: a value that makes loggers, so that nothing here is global. swift-log's own
// global factory is set only if a dependency logs through it (`bootstrap`).
//
// A line is one write(2) without a lock: the system keeps lines of up to 4096 bytes apart (see LogLine). A log that
// cannot be written has no other place to complain; the line is lost and the work goes on.
//
// Who reads decides about the form: a person at a terminal gets text, systemd's journal gets fields, everything else
// gets JSON, unless the settings say otherwise.

import Glibc
public import Logging
import Synchronization

/// The destination of log lines.
public struct LogOutput: Sendable {
    public enum Format: String, CaseIterable, Sendable {
        /// Whichever of the others suits the descriptor.
        case auto
        case text, json
        /// Fields for systemd's journal; text if the journal cannot be reached.
        case journal
    }

    /// Never `auto`.
    public let format: Format
    let descriptor: Int32
    let colour: Bool
    let clock: @Sendable () -> Int64
    private let threshold: Threshold
    let journal: JournalSocket?
    /// What commands in messages are completed with.
    private var given = GivenOptions.none

    /// The least severe level that is written; loggers follow it when it changes.
    private final class Threshold: Sendable {
        let level: Mutex<Logger.Level>

        init(_ level: Logger.Level) {
            self.level = Mutex(level)
        }
    }

    /// - Parameters:
    ///   - level: the least severe level that is written.
    ///   - descriptor: stderr, unless a test gives another; it must stay open as long as loggers live.
    ///   - journalStream: the value of JOURNAL_STREAM, by which `auto` knows the journal.
    ///   - colour: nil decides: text, a terminal, and no NO_COLOR.
    ///   - clock: milliseconds since 1970.
    public init(
        format: Format, level: Logger.Level, descriptor: Int32 = 2, journalStream: String? = nil, colour: Bool? = nil,
        clock: @escaping @Sendable () -> Int64 = WallClock.milliseconds
    ) {
        self.format = format == .auto ? Self.format(of: descriptor, journalStream) : format
        threshold = Threshold(level)
        self.descriptor = descriptor
        self.colour = colour ?? (self.format == .text && Terminal(descriptor).allowsColour)
        self.clock = clock
        journal = self.format == .journal ? JournalSocket() : nil
    }

    private static func format(of descriptor: Int32, _ journalStream: String?) -> Format {
        if JournalSocket.isJournal(descriptor, environment: journalStream) { return .journal }
        return Terminal(descriptor).isTerminal ? .text : .json
    }

    /// The least severe level that is written. May be changed at any time, for all loggers of this output.
    public var level: Logger.Level {
        get { threshold.level.withLock { $0 } }
        nonmutating set { threshold.level.withLock { $0 = newValue } }
    }

    /// The output that the settings ask for.
    ///
    /// - Parameter environment: of the process.
    public init(_ settings: Settings, environment: [String: String]) {
        guard let format = Format(rawValue: settings.text(.logFormat)) else {
            preconditionFailure("the choices of --log-format are the cases of their type")
        }
        self.init(format: format, level: Self.level(settings), journalStream: environment["JOURNAL_STREAM"])
        given = GivenOptions(settings)
    }

    /// The level that the settings ask for.
    public static func level(_ settings: Settings) -> Logger.Level {
        guard let level = Logger.Level(rawValue: settings.text(.logLevel)) else {
            preconditionFailure("the choices of --log-level are the cases of their type")
        }
        return level
    }

    /// An event whose commands can be pasted.
    func completing(_ event: LogLine.Event) -> LogLine.Event {
        var event = event
        event.message = given.completing(event.message)
        event.metadata = event.metadata.mapValues { value in
            if case .string(let text) = value { .string(given.completing(text)) } else { value }
        }
        return event
    }

    /// A logger whose lines carry `label`, the name of the role or part that speaks.
    public func logger(_ label: String) -> Logger {
        Logger(label: label) { LineLogHandler(output: self, label: $0) }
    }

    /// Sends what dependencies log to this output. Once a process, before anything logs.
    public func bootstrap() {
        LoggingSystem.bootstrap { LineLogHandler(output: self, label: $0) }
    }
}

struct LineLogHandler: LogHandler {
    let output: LogOutput
    let label: String
    var metadata: Logger.Metadata = [:]
    var metadataProvider: Logger.MetadataProvider?
    private var ownLevel: Logger.Level?

    /// The output's, unless this logger was given one of its own.
    var logLevel: Logger.Level {
        get { ownLevel ?? output.level }
        set { ownLevel = newValue }
    }

    init(output: LogOutput, label: String) {
        self.output = output
        self.label = label
    }

    subscript(metadataKey key: String) -> Logger.MetadataValue? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var fields = metadata
        if let provided = metadataProvider?.get() { fields.merge(provided) { _, new in new } }
        if let given = event.metadata { fields.merge(given) { _, new in new } }
        if let error = event.error { fields["error"] = "\(error)" }
        let parts = output.completing(
            LogLine.Event(
                milliseconds: output.clock(), level: event.level, label: label, message: event.message.description,
                metadata: fields))
        if let journal = output.journal, journal.send(parts) { return }
        let line = output.format == .json ? LogLine.json(parts) : LogLine.text(parts, colour: output.colour)
        _ = SystemCall.writeAll(line, to: output.descriptor)  // a log that fails has nowhere to say so
    }
}
