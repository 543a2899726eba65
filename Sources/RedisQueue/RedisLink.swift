// Everything that a connection needs to come about: a value that may be handed from thread to thread, while a
// connection stays with the thread that made it.

import CHiredis

/// Where Redis is, who we are, and how long we wait.
public struct RedisLink: Hashable, Sendable {
    public static let connectMillisecondsDefault: UInt64 = 2_000
    public static let commandMillisecondsDefault: UInt64 = 5_000

    public var url: RedisURL
    /// What `CLIENT LIST` shows; anything but visible ASCII becomes `-`.
    public var clientName: String
    /// From 1. Bounds the connect itself; resolving a host name takes what the system's resolver takes.
    public var connectMilliseconds: UInt64
    /// From 1. The longest silence of Redis while an answer is due.
    public var commandMilliseconds: UInt64
    /// Accept a Redis that may lose what it has confirmed.
    public var allowVolatile = false

    public init(
        url: RedisURL, clientName: String = "tallymill",
        connectMilliseconds: UInt64 = connectMillisecondsDefault,
        commandMilliseconds: UInt64 = commandMillisecondsDefault
    ) {
        self.url = url
        self.clientName = clientName
        self.connectMilliseconds = connectMilliseconds
        self.commandMilliseconds = commandMilliseconds
    }

    /// Where keys of that name are looked for, without secrets: "redis://127.0.0.1:6379, namespace tallymill".
    public func place(of names: KeyNames) -> String { "\(url), namespace \(names.namespace)" }
}

/// The client library in use.
public enum RedisLibrary {
    public static var version: String { "\(HIREDIS_MAJOR).\(HIREDIS_MINOR).\(HIREDIS_PATCH)" }
}
