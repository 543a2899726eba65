// From what systemd has to what the topology asks for: which commands, in which order, and why. It decides and does
// nothing.
//
// What is not wanted is stopped before anything is started, so that a consumer of a partition that no longer exists
// never runs beside those of the new epoch. A unit that failed is forgiven first: systemd would otherwise go on
// counting its failures, and show it as failed after it was disabled. After that it may have forgotten the unit.

import ServiceKit

/// The commands that make the consumers of this host match the topology.
public struct ScalePlan: Hashable, Sendable {
    /// One command for one unit.
    public struct Step: Hashable, Sendable {
        public enum Action: Hashable, Sendable {
            case disable, resetFailed, enable
        }

        public let action: Action
        public let unit: String
        /// Whether it is to run here in the end.
        public let isWanted: Bool

        /// As systemctl takes them.
        public var arguments: [String] {
            switch action {
            case .disable: ["disable", "--now", unit]
            case .resetFailed: ["reset-failed", unit]
            case .enable: ["enable", "--now", unit]
            }
        }

        /// Ready to be pasted into a shell.
        public var command: String {
            "systemctl " + arguments.map { ShellWord.quoted($0) }.joined(separator: " ")
        }
    }

    /// In the order in which they are to be run; empty if everything is as it should be.
    public private(set) var steps: [Step] = []
    /// What is there and does not belong here, a sentence each without a full stop.
    public private(set) var notices: [String] = []

    /// - Parameters:
    ///   - instances: what systemd has.
    ///   - wanted: the partitions of this host.
    ///   - partitions: K.
    init(_ instances: [ConsumerInstance], wanted: [UInt32], partitions: Int) {
        let isWanted = { (instance: ConsumerInstance) in instance.partition.map { wanted.contains($0) } ?? false }
        for instance in instances where !isWanted(instance) {
            let isOn = instance.isEnabled || instance.activity.isUp || instance.activity == .deactivating
            if instance.activity == .failed { add(.resetFailed, instance.unit, isWanted: false) }
            if isOn { add(.disable, instance.unit, isWanted: false) }
            if isOn || instance.activity == .failed { notices.append(Self.notice(instance, partitions)) }
        }
        for number in wanted.sorted() {
            let instance = instances.first { $0.partition == number }
            if let instance, instance.isEnabled, instance.activity.isUp { continue }
            let unit = ConsumerInstance.unit(number)
            if instance?.activity == .failed { add(.resetFailed, unit, isWanted: true) }
            add(.enable, unit, isWanted: true)
        }
    }

    private mutating func add(_ action: Step.Action, _ unit: String, isWanted: Bool) {
        steps.append(Step(action: action, unit: unit, isWanted: isWanted))
    }

    private static func notice(_ instance: ConsumerInstance, _ partitions: Int) -> String {
        let reason =
            switch instance.partition {
            case nil: "no partition has that name"
            case let number? where number >= partitions: "beyond the last partition, \(partitions - 1)"
            case _?: "not among the partitions of this host"
            }
        let state = instance.isEnabled ? "enabled and \(instance.activity.rawValue)" : instance.activity.rawValue
        return "\(instance.unit) is \(state): \(reason)"
    }
}
