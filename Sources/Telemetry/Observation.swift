// What a look at a role yields, in all the forms in which it is shown: the pages of the admin listener, the status line
// of systemd, and whether its watchdog may be fed.

public import HTTPFront

/// One look at a role.
public struct Observation: Sendable {
    /// Whether the role does its work, and the answer to `GET /readyz`.
    public let readiness: Readiness
    /// A JSON object: `GET /status`.
    public let status: [UInt8]
    /// The text format of Prometheus: `GET /metrics`.
    public let metrics: [UInt8]
    /// One line for people, such as "partition 3: lag 0.2 s, 8,123 keys, 1.2 k/s".
    public let line: String
    /// Whether every part of the role has moved on since the look before. The watchdog is fed by this.
    public let hasProgressed: Bool
}

/// A role that can be looked at.
public protocol Observer: AnyObject {
    /// Looks. It may wait for the role's own threads, and some seconds for Redis. Called on one thread.
    func observe() -> Observation
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
