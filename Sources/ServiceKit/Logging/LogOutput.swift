// Where the log goes and in which form: a value that makes loggers, so that nothing here is global. swift-log's own
// global factory is set only if a dependency logs through it (`bootstrap`).
//
// A line is one write(2) without a lock: the system keeps lines of up to 4096 bytes apart (see LogLine). A log that
// cannot be written has no other place to complain; the line is lost and the work goes on.

import Glibc
public import Logging

/// The destination of log lines.
public struct LogOutput: Sendable {
    public enum Format: String, CaseIterable, Sendable {
        case text, json
    }

    public let format: Format
    public let level: Logger.Level
    let descriptor: Int32
    let colour: Bool
    let clock: @Sendable () -> Int64

    /// - Parameters:
    ///   - level: the least severe level that is written.
    ///   - descriptor: stderr, unless a test gives another; it must stay open as long as loggers live.
    ///   - colour: nil decides: text, a terminal, and no NO_COLOR.
    ///   - clock: milliseconds since 1970.
    public init(
        format: Format, level: Logger.Level, descriptor: Int32 = 2, colour: Bool? = nil,
        clock: @escaping @Sendable () -> Int64 = WallClock.milliseconds
    ) {
        self.format = format
        self.level = level
        self.descriptor = descriptor
        self.colour = colour ?? (format == .text && Terminal(descriptor).allowsColour)
        self.clock = clock
    }

    /// The output that the settings ask for.
    public init(_ settings: Settings) {
        guard let format = Format(rawValue: settings.text(.logFormat)),
            let level = Logger.Level(rawValue: settings.text(.logLevel))
        else { preconditionFailure("the choices of --log-format and --log-level are the cases of their types") }
        self.init(format: format, level: level)
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
    var logLevel: Logger.Level

    init(output: LogOutput, label: String) {
        self.output = output
        self.label = label
        self.logLevel = output.level
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
        let parts = LogLine.Event(
            milliseconds: output.clock(), level: event.level, label: label, message: event.message.description,
            metadata: fields)
        let line = output.format == .json ? LogLine.json(parts) : LogLine.text(parts, colour: output.colour)
        _ = SystemCall.writeAll(line, to: output.descriptor)  // a log that fails has nowhere to say so
    }
}
