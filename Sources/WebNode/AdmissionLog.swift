// What the log is told of admission, decided without a logger. A line when it closes, one when it is open again; in
// between each reason once, because an outage lasts until Redis has answered real work, however often it is tried.

import ServiceKit
import TallyCore

/// What the log has been told of one loop's admission, and of its connection.
struct AdmissionLog {
    enum Line: Hashable {
        case closed(TallyCore.Refusal)
        case opened
    }

    private var reported: TallyCore.Refusal?
    private var closures = OutageReasons<TallyCore.Refusal>()
    private var disconnections = OutageReasons<String>()

    /// Whether the end of a connection, or that there is none, is to be told.
    mutating func isNews(disconnection reason: String) -> Bool { disconnections.isNews(reason) }

    /// How admission is now.
    ///
    /// - Parameters:
    ///   - refusal: why it is closed; nil if it is open.
    ///   - hasWorked: whether Redis has answered real work over the present connection.
    mutating func saw(_ refusal: TallyCore.Refusal?, hasWorked: Bool) -> Line? {
        if refusal == nil, hasWorked {
            closures.end()
            disconnections.end()
        }
        guard refusal != reported, refusal != nil || hasWorked else { return nil }
        reported = refusal
        guard let refusal else { return .opened }
        return closures.isNews(refusal) ? .closed(refusal) : nil
    }
}
