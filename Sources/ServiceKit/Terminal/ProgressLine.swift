// How far a long command is: one line on stderr that is written over, on a terminal only, ten times a second at
// most. `Progress` decides what it says and when, `ProgressLine` writes it.

import Glibc

/// What a progress line says. Time comes in as an argument.
public struct Progress: Sendable {
    /// The least time between two lines, in milliseconds.
    public static let intervalMilliseconds: UInt64 = 100

    private let label: String
    private let total: Int?
    private let startMilliseconds: UInt64
    private var shownMilliseconds: UInt64?

    /// - Parameters:
    ///   - label: what is done, such as "importing".
    ///   - total: how much there is to do; nil if that is not known.
    ///   - now: milliseconds of the monotonic clock.
    public init(_ label: String, total: Int?, now: UInt64) {
        self.label = label
        self.total = total
        self.startMilliseconds = now
    }

    /// The line to show now, nil if it is too early for another.
    public mutating func line(done: Int, now: UInt64, width: Int?) -> String? {
        if let shownMilliseconds, now < shownMilliseconds + Self.intervalMilliseconds { return nil }
        shownMilliseconds = now
        return String(text(done: done, now: now).prefix(max(1, (width ?? 80) - 1)))
    }

    func text(done: Int, now: UInt64) -> String {
        let elapsed = Double(now - startMilliseconds) / 1_000
        var text = "\(label): \(Humanized.count(done))"
        if let total, total > 0 { text += " of \(Humanized.count(total)) (\(min(100, done * 100 / total))%)" }
        guard elapsed > 0, done > 0 else { return text }
        let rate = Double(done) / elapsed
        text += ", \(Humanized.quantity(rate))/s"
        if let total, total > done {
            text += ", \(Humanized.duration(milliseconds: Int(Double(total - done) / rate * 1_000))) left"
        }
        return text
    }
}

/// A progress line on a terminal; does nothing elsewhere. Owned by one thread.
public final class ProgressLine {
    private var progress: Progress
    private let terminal: Terminal
    private let isShown: Bool
    private var isOnScreen = false

    public init(_ label: String, total: Int?, terminal: Terminal = .standardError) {
        progress = Progress(label, total: total, now: MonotonicClock.milliseconds())
        self.terminal = terminal
        isShown = terminal.isTerminal
    }

    /// Says how much is done so far.
    public func update(done: Int) {
        guard isShown,
            let line = progress.line(done: done, now: MonotonicClock.milliseconds(), width: terminal.width)
        else { return }
        show("\r\u{1B}[K\(line)")
        isOnScreen = true
    }

    /// Removes the line, before anything else is printed.
    public func clear() {
        guard isOnScreen else { return }
        show("\r\u{1B}[K")
        isOnScreen = false
    }

    private func show(_ text: String) {
        _ = SystemCall.writeAll(Array(text.utf8), to: terminal.descriptor)  // progress is not worth an error
    }
}
