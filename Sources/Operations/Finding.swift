// What `verify` and `audit` have found: where, what, and what to do about it.
//
// A finding is something that must not be. A note is something that an operator may want to know and that is in order.

import ServiceKit
import TallyCore

/// One sentence about a cluster.
public struct Finding: Hashable, Sendable {
    public enum Severity: String, Hashable, Sendable {
        case error
        case note
    }

    public let severity: Severity
    /// nil if it concerns the cluster as a whole.
    public let partition: UInt32?
    /// A file, or keys in Redis.
    public let place: String
    /// One sentence without a full stop.
    public private(set) var what: String
    /// What to do next, as sentences; nil for a note.
    public private(set) var advice: String?

    init(_ partition: UInt32?, _ place: String, _ what: String, _ advice: String) {
        severity = .error
        self.partition = partition
        self.place = place
        self.what = what
        self.advice = advice
    }

    private init(note what: String, _ partition: UInt32?, _ place: String) {
        severity = .note
        self.partition = partition
        self.place = place
        self.what = what
        advice = nil
    }

    static func note(_ partition: UInt32?, _ place: String, _ what: String) -> Finding {
        Finding(note: what, partition, place)
    }

    /// What a library threw, as a finding.
    init(_ failure: Failure, partition: UInt32?, otherwise place: String) {
        self.init(
            partition, failure.location ?? place, failure.what, failure.advice ?? "Run this again.")
    }

    /// With commands that can be pasted.
    func completed(by given: GivenOptions) -> Finding {
        var finding = self
        finding.what = given.completing(what)
        finding.advice = advice.map { given.completing($0) }
        return finding
    }

    public var json: String {
        let number = partition.map { "\($0)" } ?? "null"
        let advice = advice.map { JSONText.quote($0) } ?? "null"
        return #"{"severity":"\#(severity.rawValue)","partition":\#(number),"where":\#(JSONText.quote(place)),"#
            + #""what":\#(JSONText.quote(what)),"advice":\#(advice)}"#
    }

    /// Lines for a person.
    var text: String {
        let head = severity == .note ? "note: \(place): \(what)\n" : "FOUND: \(place): \(what)\n"
        return head + (advice.map { "  \($0)\n" } ?? "")
    }
}

extension [Finding] {
    var errors: [Finding] { filter { $0.severity == .error } }
    var notes: [Finding] { filter { $0.severity == .note } }

    /// Those of the cluster as a whole, then by partition; within one as they were found.
    mutating func sortByPartition() {
        let order = enumerated().sorted { left, right in
            let (first, second) = (
                left.element.partition.map { Int($0) } ?? -1, right.element.partition.map { Int($0) } ?? -1
            )
            return first != second ? first < second : left.offset < right.offset
        }
        self = order.map(\.element)
    }
}

/// The findings of one kind in one place: the first few one by one, the rest as a number.
struct FindingSeries {
    /// How many are told one by one.
    static let toldMax = 10
    private var told: [Finding] = []
    private(set) var count = 0

    /// - Parameter finding: not evaluated if enough are told.
    mutating func add(_ finding: @autoclosure () -> Finding) {
        count += 1
        if count <= Self.toldMax { told.append(finding()) }
    }

    var findings: [Finding] {
        guard let last = told.last, count > told.count else { return told }
        let more = Humanized.count(count - told.count)
        return told + [Finding(last.partition, last.place, "\(more) more of this kind", last.advice ?? "")]
    }
}

/// A key as messages show it: quoted, and escaped so that it can pose as nothing else.
func shown(_ key: UnsafeRawBufferPointer) -> String {
    JSONText.quote(String(decoding: key, as: UTF8.self))
}
