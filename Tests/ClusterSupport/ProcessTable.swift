// The children of a process, from /proc: how the tests find the web node, the consumers and the Redis of an `up`
// that they started, and see in which order they end.
//
// /proc/PID/stat is "PID (name) state ppid ..."; the name may hold anything, so what follows the last `)` counts.

import Glibc

/// A process as the system shows it.
public struct ProcessEntry: Hashable, Sendable {
    public let pid: Int32
    public let parent: Int32
    /// `Z` has ended and waits to be collected.
    public let state: Character
    public let name: String
    public let arguments: [String]

    public enum Role: Hashable, Sendable { case web, consumer, redis, other }

    public var role: Role {
        if name == "redis-server" { return .redis }
        if arguments.contains("web") { return .web }
        if arguments.contains("consume") { return .consumer }
        return .other
    }

    public var isRunning: Bool { state != "Z" && state != "X" }
}

public enum ProcessTable {
    /// One process, nil if there is none of that number.
    public static func entry(_ pid: Int32) -> ProcessEntry? {
        guard let stat = Files.read("/proc/\(pid)/stat") else { return nil }
        let text = String(decoding: stat, as: UTF8.self)
        guard let open = text.firstIndex(of: "("), let close = text.lastIndex(of: ")") else { return nil }
        let fields = text[text.index(after: close)...].split(separator: " ")
        guard fields.count > 2, let state = fields[0].first, let parent = Int32(fields[1]) else { return nil }
        let command = Files.read("/proc/\(pid)/cmdline") ?? []
        return ProcessEntry(
            pid: pid, parent: parent, state: state, name: String(text[text.index(after: open)..<close]),
            arguments: command.split(separator: 0).map { String(decoding: $0, as: UTF8.self) })
    }

    public static func all() -> [ProcessEntry] {
        Files.names(in: "/proc").compactMap { Int32($0) }.compactMap(entry)
    }

    /// The running children of a process.
    public static func children(of pid: Int32) -> [ProcessEntry] {
        all().filter { $0.parent == pid && $0.isRunning }
    }

    /// Whether a process has not ended.
    public static func isRunning(_ pid: Int32) -> Bool { entry(pid)?.isRunning ?? false }

    /// Running processes whose command line names a folder, apart from this one.
    public static func naming(_ folder: String) -> [ProcessEntry] {
        all().filter { entry in
            entry.pid != getpid() && entry.isRunning && entry.arguments.contains { $0.contains(folder) }
        }
    }
}
