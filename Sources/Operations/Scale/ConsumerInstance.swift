// The consumers that systemd knows on this host: instances of one template, named by their partition.
//
// What runs is asked with `list-units`. What is enabled is not: `list-unit-files` shows the template alone, and
// `is-enabled` answers only for names that one already has. An instance is enabled by a symbolic link in a folder
// NAME.wants or NAME.requires of systemd's search path, so those are read. The path itself is asked of systemd.

import Glibc
public import ServiceKit

/// One `tallymill-consumer@…`.
public struct ConsumerInstance: Hashable, Sendable {
    public static let template = "tallymill-consumer"

    /// What systemd says it is doing.
    public enum Activity: String, Hashable, Sendable {
        case active, reloading, activating, deactivating, inactive, failed
        /// A word of a later systemd.
        case other

        /// Whether it runs or is about to.
        var isUp: Bool { self == .active || self == .reloading || self == .activating }
    }

    /// The part behind the `@`, as systemd writes it.
    public let name: String
    public let isEnabled: Bool
    public let activity: Activity
    /// More exactly, such as `running` or `auto-restart`; empty if systemd has not loaded it.
    public let detail: String

    init(_ name: String, isEnabled: Bool, activity: Activity = .inactive, detail: String = "") {
        self.name = name
        self.isEnabled = isEnabled
        self.activity = activity
        self.detail = detail
    }

    public var unit: String { Self.unit(name) }

    /// The partition that it is for; nil for a name that is no number as we write it.
    public var partition: UInt32? {
        guard let number = UInt32(name), String(number) == name else { return nil }
        return number
    }

    static func unit(_ name: some CustomStringConvertible) -> String { "\(template)@\(name).service" }
}

extension ConsumerInstance {
    /// All that systemd has loaded or enabled, by partition, those of none last.
    ///
    /// - Throws: 69 if there is no systemd, 78 if the template is not installed, 1, 74.
    public static func all(_ systemctl: Systemctl) throws(Failure) -> [ConsumerInstance] {
        let folders = try systemctl.ask(["show", "--property=UnitPath", "--value"])
            .flatMap { $0.split(separator: " ") }.map(String.init)
        guard folders.contains(where: { Folder.exists("\($0)/\(unit(""))") }) else {
            throw Failure(
                .configuration, "systemd has no \(unit("")) here", at: folders.first,
                advice: "Install the package, or the unit files of the source, then `systemctl daemon-reload`.")
        }
        let loaded = try systemctl.ask(["list-units", "--all", "--plain", "--no-legend", "--full", unit("*")])
        return merge(loaded: loaded, enabled: try enabledNames(in: folders))
    }

    /// Instances with a link in a folder of wanted units.
    private static func enabledNames(in folders: [String]) throws(Failure) -> Set<String> {
        var found: Set<String> = []
        for folder in folders {
            for wanting in try Folder.names(in: folder) ?? []
            where wanting.hasSuffix(".wants") || wanting.hasSuffix(".requires") {
                let links = try Folder.names(in: "\(folder)/\(wanting)") ?? []
                found.formUnion(links.compactMap { name(ofUnit: $0) })
            }
        }
        return found
    }

    /// - Parameter loaded: lines of UNIT LOAD ACTIVE SUB DESCRIPTION; some releases put a mark in front.
    static func merge(loaded: [String], enabled: Set<String>) -> [ConsumerInstance] {
        var found: [String: ConsumerInstance] = [:]
        for name in enabled { found[name] = ConsumerInstance(name, isEnabled: true) }
        for line in loaded {
            let words = line.split(separator: " ")
            guard let place = words.firstIndex(where: { name(ofUnit: $0) != nil }), words.count > place + 3,
                let name = name(ofUnit: words[place])
            else { continue }
            found[name] = ConsumerInstance(
                name, isEnabled: enabled.contains(name),
                activity: Activity(rawValue: String(words[place + 2])) ?? .other, detail: String(words[place + 3]))
        }
        return found.values.sorted { left, right in
            (left.partition ?? .max, left.name) < (right.partition ?? .max, right.name)
        }
    }

    /// The part behind the `@`; nil for any other unit, and for the template itself.
    private static func name(ofUnit unit: some StringProtocol) -> String? {
        let (start, end) = ("\(template)@", ".service")
        guard unit.hasPrefix(start), unit.hasSuffix(end) else { return nil }
        let name = unit.dropFirst(start.count).dropLast(end.count)
        return name.isEmpty ? nil : String(name)
    }
}
