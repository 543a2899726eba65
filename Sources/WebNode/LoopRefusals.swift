// Why loops take no requests, so that each of them can say for the whole node whether it is ready.

import Synchronization

/// Shared by the loops of a node. From any thread.
final class LoopRefusals: Sendable {
    private let texts: Mutex<[String?]>

    /// - Parameter loops: how many there are; none takes requests before it has said so.
    init(loops: Int) {
        texts = Mutex(Array(repeating: "an event loop has not begun yet", count: loops))
    }

    /// The first that is there; nil if all loops take requests.
    var first: String? { texts.withLock { texts in texts.lazy.compactMap(\.self).first } }

    /// - Parameter refusal: nil if the loop takes requests.
    func set(_ refusal: String?, of loop: Int) {
        texts.withLock { texts in
            if texts[loop] != refusal { texts[loop] = refusal }
        }
    }
}
