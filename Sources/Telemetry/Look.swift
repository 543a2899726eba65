// One look at a role, as a value: whether it does its work, a line for systemd, whether its watchdog may be fed, and
// all that the pages of the admin listener are made of. The pages are written when somebody asks, which is seldom.

import HTTPFront
import TallyCore
public import WebNode

/// What was seen of a role.
public protocol Look: Sendable {
    /// Why the role does not do its work; nil if it does.
    var obstacle: String? { get }
    /// Partitions that it does nothing for, while it works for others.
    var closed: [ClosedReport] { get }
    /// One line for people, such as "partition 3: lag 0.2 s, 8,123 keys, 1.2 k/s".
    var line: String { get }
    /// Whether every part of the role has moved on since the look before. The watchdog is fed by this.
    var hasProgressed: Bool { get }
    /// A JSON object: `GET /status`.
    func status() -> [UInt8]
    /// The text format of Prometheus: `GET /metrics`.
    func metrics() -> [UInt8]
}

extension Look {
    /// The answer to `GET /readyz`.
    var readiness: Readiness {
        var object = JSONObject()
        object.add("ready", obstacle == nil)
        if let obstacle { object.add("reason", obstacle) }
        if !closed.isEmpty { object.add("closed", closed.objects) }
        return Readiness(isReady: obstacle == nil, json: object.text)
    }
}

/// A role that can be looked at.
public protocol Observer: AnyObject {
    /// Looks. It may wait for the role's own threads, and some seconds for Redis. Called on one thread.
    func look() -> any Look
}

/// What runs, for `tallymill_build_info` and `/status`.
public struct Build: Hashable, Sendable {
    public let version: String
    public let commit: String

    public init(version: String, commit: String) {
        self.version = version
        self.commit = commit
    }
}
