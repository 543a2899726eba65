// How a web node shares its descriptors: clients get what is left when the node's own are set aside. Without that,
// clients could take all of them, and a connection to Redis that breaks could not be made again, nor would the admin
// listener answer whoever wants to know why.

public import HTTPFront

/// How many connections a node's limit of open files allows.
public struct DescriptorBudget: Hashable, Sendable {
    /// At most what was asked for.
    public let connections: Int
    public let lingeringConnections: Int
    /// Of the admin listener, and as many that linger there.
    public let adminConnections: Int

    /// Standard streams, log, listeners, the admin listener's loop, the monitor's connection to Redis, files that are
    /// read now and then.
    static let ownDescriptors = 40
    /// A loop's poller and waker, its connection to Redis and the next one, and its share of rounding up.
    static let loopDescriptors = 8
    /// With fewer connections a node does not begin.
    static let connectionsMin = 16

    /// - Parameters:
    ///   - descriptors: the most that the process may have open.
    ///   - http: what clients may have if there are enough.
    ///   - adminConnections: the same of the admin listener.
    /// - Returns: nil if they do not suffice for a node.
    public init?(descriptors: Int, eventLoops: Int, http: HTTPLimits, adminConnections: Int) {
        self.adminConnections = min(adminConnections, max(4, descriptors / 16))
        let admin = 2 * self.adminConnections + HTTPLimits.refusedSockets
        let rest =
            descriptors - Self.ownDescriptors - eventLoops * Self.loopDescriptors - admin - HTTPLimits.refusedSockets
        lingeringConnections = min(http.lingeringConnections, max(0, rest / 8))
        connections = min(http.connections, rest - lingeringConnections)
        if connections < min(http.connections, Self.connectionsMin) { return nil }
    }

    /// The fewest descriptors with which a node begins.
    public static func least(eventLoops: Int, http: HTTPLimits, adminConnections: Int) -> Int {
        (1...).first {
            DescriptorBudget(
                descriptors: $0, eventLoops: eventLoops, http: http, adminConnections: adminConnections) != nil
        } ?? .max
    }
}
