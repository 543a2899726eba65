// What the harness itself reports: something took too long, or a process did what it should not.
//
// Tests never wait by the clock. They wait for a condition with `eventually`, which looks often and gives up after
// a bound, with the sentence that says what was awaited.

import Glibc
import ServiceKit

/// Something that the harness could not do, in one sentence.
public struct HarnessError: Error, Hashable, Sendable, CustomStringConvertible {
    public let description: String

    public init(_ description: String) { self.description = description }

    /// A system call that failed.
    init(cannot action: String, errno number: Int32 = errno) {
        let text = strerror(number).map { String(cString: $0) } ?? "error \(number)"
        self.init("cannot \(action): \(text)")
    }
}

/// Looks at `condition` until it holds.
///
/// - Throws: after `seconds`, or what the condition throws.
public func eventually(
    _ what: String, within seconds: Double, everyMilliseconds: UInt32 = 10,
    _ condition: () throws(HarnessError) -> Bool
) throws(HarnessError) {
    let watch = Stopwatch()
    while try !condition() {
        if watch.seconds > seconds { throw HarnessError("not within \(seconds) s: \(what)") }
        usleep(everyMilliseconds * 1000)
    }
}

/// Seconds since it was made.
public struct Stopwatch: Sendable {
    private let start = MonotonicClock.nanoseconds()

    public init() {}

    public var seconds: Double { Double(MonotonicClock.nanoseconds() - start) / 1e9 }

    /// Seconds with two decimals, for messages.
    public var text: String { fixed(seconds) }
}

/// A number with two decimals.
public func fixed(_ value: Double) -> String {
    let hundredths = Int((value * 100).rounded())
    let rest = hundredths % 100
    return "\(hundredths / 100).\(rest < 10 ? "0" : "")\(rest)"
}

/// One line on stderr, at once, so that a run that hangs has said where.
public func note(_ text: String) {
    var bytes = Array("[cluster] \(text)\n".utf8)
    while !bytes.isEmpty {
        let count = write(STDERR_FILENO, bytes, bytes.count)
        guard count > 0 else { return }
        bytes.removeFirst(count)
    }
}
