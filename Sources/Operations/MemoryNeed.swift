// Whether the settings allow more memory than the machine has. Each bound is kept; what they come to is for whoever
// sets them to see, before a full outbox and full lists show it.

import Glibc
public import ServiceKit

/// What may be held at most, by the settings of this machine's roles.
public struct MemoryNeed: Hashable, Sendable {
    /// What an open connection takes that holds nothing.
    static let connectionBytes = 2 << 10

    let outboxBytes: Int
    let requestBytes: Int
    let connections: Int
    let queueBytes: Int
    let partitions: Int

    public init(_ settings: Settings) {
        outboxBytes = settings.bytes(.outboxBytes)
        // As a node reckons it: each event loop has room for four bodies.
        requestBytes = max(settings.bytes(.requestMemoryBytes), 4 * settings.bytes(.requestBodyBytes))
        connections = settings.integer(.maxConnections)
        queueBytes = settings.bytes(.queueBytes)
        partitions = settings.integer(.partitions)
    }

    var nodeBytes: Int { outboxBytes + requestBytes + connections * Self.connectionBytes }

    /// The settings allow 1 TiB a list and 1,024 lists: that is no overflow.
    var listBytes: Int { partitions * queueBytes }

    /// A sentence for each bound that the machine has no memory for.
    ///
    /// - Parameter machineBytes: its memory.
    public func warnings(machineBytes: Int) -> [String] {
        let machine = "this machine has \(Humanized.bytes(machineBytes))"
        let node =
            "a web node may hold \(Humanized.bytes(nodeBytes)): --outbox-bytes \(Humanized.bytes(outboxBytes)),"
            + " --request-memory-bytes \(Humanized.bytes(requestBytes)), and for \(connections) connections"
            + " (--max-connections) \(Humanized.bytes(connections * Self.connectionBytes))"
        let lists =
            "Redis may have to hold \(Humanized.bytes(listBytes)): \(partitions) partitions of --queue-bytes"
            + " \(Humanized.bytes(queueBytes))"
        var found: [String] = []
        if nodeBytes > machineBytes { found.append("\(node); \(machine)") }
        if listBytes > machineBytes { found.append("\(lists); \(machine), if it runs here") }
        if found.isEmpty, nodeBytes + listBytes > machineBytes {
            found.append("\(node); \(lists); \(machine), if both run here")
        }
        return found
    }

    /// The memory of this machine; nil if the system does not tell.
    public static func machineBytes() -> Int? {
        let pages = sysconf(Int32(_SC_PHYS_PAGES))
        let size = sysconf(Int32(_SC_PAGESIZE))
        return pages > 0 && size > 0 ? pages * size : nil
    }
}
