// What a change of epoch does and did, line by line, beside the cluster file: for `status`, for people, and for whoever
// has to find out later what happened. It decides nothing: a change is resumed from the cluster file alone.
//
//   <data>/rebalance.journal                  while a change is under way, or interrupted
//   <data>/epoch-0002/rebalance.journal       of the change that made epoch 2
//
// Each line is one JSON object, {"ms":...,"pid":...,"event":"step","text":"drain e1.p0","done":3,"total":28}, written
// whole. `begin` and `resume` name the change, `step` is written and fsynced before a step is performed, `progress`
// tells how far a long step is, `failed` ends a run that could not go on, `end` the change.

import Glibc
import ServiceKit
import Synchronization
import TallyCore

/// The lines of one change. From any thread.
final class RebalanceJournal: Sendable {
    /// The least time between two lines of progress.
    static let progressMilliseconds: UInt64 = 500
    static let maximumBytes = 16 << 20

    private struct State {
        let file: AppendedFile
        var progressAt: UInt64 = 0
    }

    private let state: Mutex<State>

    /// - Throws: 74.
    init(_ path: String) throws(Failure) {
        let file = try AppendedFile(path)
        state = Mutex(State(file: file))
    }

    /// Writes a line and makes it durable.
    ///
    /// - Throws: 74.
    func write(_ event: RebalanceRecord.Event, _ text: String, done: Int = 0, total: Int = 0) throws(Failure) {
        let line = Self.line(event, text, done, total)
        try state.withLock { state throws(Failure) in
            try state.file.append(line: line)
            try state.file.sync()
        }
    }

    /// Writes a line if the last one is old enough; it need not survive a crash.
    func progress(_ text: String, done: Int, total: Int) {
        state.withLock { state in
            let now = MonotonicClock.milliseconds()
            guard now >= state.progressAt else { return }
            state.progressAt = now + Self.progressMilliseconds
            // For people alone: that the journal cannot be written shows at the next step.
            try? state.file.append(line: Self.line(.progress, text, done, total))
        }
    }

    private static func line(_ event: RebalanceRecord.Event, _ text: String, _ done: Int, _ total: Int) -> String {
        #"{"ms":\#(WallClock.milliseconds()),"pid":\#(getpid()),"event":"\#(event.rawValue)","#
            + #""text":\#(JSONText.quote(text)),"done":\#(done),"total":\#(total)}"#
    }
}

/// One line of a journal.
public struct RebalanceRecord: Hashable, Sendable {
    public enum Event: String, Hashable, Sendable {
        case begin, resume, step, progress, failed, end
    }

    public let milliseconds: Int64
    public let pid: Int64
    public let event: Event
    public let text: String
    public let done: Int64
    public let total: Int64

    /// All lines that can be read; the last one may be torn, if the machine stopped.
    ///
    /// - Throws: 74 if the file is there and cannot be read.
    static func read(_ path: String) throws(Failure) -> [RebalanceRecord] {
        let bytes = try FileContent.readIfPresent(path, maximumBytes: RebalanceJournal.maximumBytes) ?? []
        return bytes.split(separator: UInt8(ascii: "\n")).compactMap { RebalanceRecord(Array($0)) }
    }

    private init?(_ line: [UInt8]) {
        var numbers: [String: Int64] = [:]
        var texts: [String: String] = [:]
        let isRead = line.withUnsafeBytes { bytes in
            do throws(JSONError) {
                var scanner = JSONScanner(bytes)
                var name: [UInt8] = []
                var text: [UInt8] = []
                try scanner.beginObject()
                while try scanner.nextName(into: &name) {
                    let field = String(decoding: name, as: UTF8.self)
                    if field == "event" || field == "text" {
                        text.removeAll()
                        try scanner.string(into: &text)
                        texts[field] = String(decoding: text, as: UTF8.self)
                    } else {
                        numbers[field] = try scanner.integer()
                    }
                }
                try scanner.finish()
                return true
            } catch {
                return false
            }
        }
        guard isRead, let milliseconds = numbers["ms"], let pid = numbers["pid"],
            let event = texts["event"].flatMap({ Event(rawValue: $0) })
        else { return nil }
        self.milliseconds = milliseconds
        self.pid = pid
        self.event = event
        text = texts["text"] ?? ""
        done = numbers["done"] ?? 0
        total = numbers["total"] ?? 0
    }
}
