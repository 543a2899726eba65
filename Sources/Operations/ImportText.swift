// What an import says of its lines. Whichever way they came in, the same lines a second time are told in the same
// words: who meant other counts that happen to be equal has to see that nothing of them was counted.

import ServiceKit

/// The sentences of one import.
public struct ImportText {
    /// Lines that were accepted.
    public let lines: UInt64
    /// The name under which they count once more, if one was given.
    private let again: String?

    public init(lines: UInt64, again: String?) {
        self.lines = lines
        self.again = again
    }

    /// What was read, after reading.
    public static func read(_ reader: ImportReader, _ rejects: RejectsFile) -> String {
        var parts: [String] = []
        if reader.passedOver > 0 { parts.append("\(Humanized.count(reader.passedOver)) empty or a header") }
        if reader.rejected > 0 {
            parts.append("\(Humanized.count(reader.rejected)) skipped, which are in \(rejects.path)")
        }
        let read = "read \(count(reader.linesRead))"
        return parts.isEmpty
            ? read : "\(read): \(([Humanized.count(reader.accepted) + " to count"] + parts).joined(separator: ", "))"
    }

    /// All of them are in, and were not before.
    ///
    /// - Parameter dead: sums that do not fit their counters.
    public func imported(dead: UInt64 = 0) -> String {
        "imported \(Self.count(lines))" + (dead == 0 ? "" : ": \(Self.deadLetters(dead))")
    }

    /// All of them were in before.
    public var doneBefore: String {
        let known =
            "imported already: of \(Self.count(lines)) 0 are new and \(Humanized.count(lines)) known;"
            + " nothing is counted twice"
        return again.map { "\(known); they were counted under the name \($0), and under another they count once more" }
            ?? "\(known); if they are other counts that happen to be equal, --again NAME counts them"
    }

    /// They went through the queues.
    ///
    /// - Parameter arrival: what became of their sums; nil if shards on other hosts do not tell.
    public func delivered(_ arrival: Import.Arrival?) -> String {
        guard let arrival else {
            return "\(imported()), each sum once: shards on other hosts do not tell how many were counted before; if"
                + " all were, --again NAME counts them once more"
        }
        if arrival.new + arrival.dead == 0, arrival.known > 0 { return doneBefore }
        var parts = ["\(Self.count(arrival.new, "sum")) counted"]
        if arrival.known > 0 { parts.append("\(Humanized.count(arrival.known)) had been counted before") }
        if arrival.dead > 0 { parts.append(Self.deadLetters(arrival.dead)) }
        return "\(imported()): \(parts.joined(separator: ", "))"
    }

    private static func deadLetters(_ count: UInt64) -> String {
        let what =
            count == 1
            ? "1 sum does not fit and is a dead letter"
            : "\(Humanized.count(count)) sums do not fit and are dead letters"
        return "\(what) (`tallymill dead-letters list`)"
    }

    private static func count(_ number: some BinaryInteger, _ thing: String = "line") -> String {
        "\(Humanized.count(number)) \(thing)\(number == 1 ? "" : "s")"
    }
}
