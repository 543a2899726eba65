// What surrounds the processes: how many files a web node may open, who may read the secrets, and whether systemd runs
// the consumers that the topology asks for.

import ServiceKit
import TallyCore

/// Open files: every connection is one.
struct FileLimitCheck {
    let connectionsMax: Int
    let host: HostFacts

    var all: [DoctorCheck] {
        let needed = connectionsMax + Limits.descriptorsBesideConnections
        let running = host.webProcesses()
        let found = running.filter { $0.filesMax < needed }.map { process in
            DoctorCheck.warning(
                .openFiles,
                "web node of process \(process.pid) may open \(process.filesMax) files, and \(connectionsMax)"
                    + " connections are allowed (--max-connections)", mend(needed))
        }
        if !running.isEmpty {
            let least = running.map(\.filesMax).min() ?? 0
            return found.orOK(.openFiles, "\(least) for a web node, \(needed) needed")
        }
        guard let own = host.ownFilesMax() else {
            return [.skipped(.openFiles, "no web node runs here, and /proc/self/limits cannot be read")]
        }
        if own >= needed { return [.ok(.openFiles, "\(own) for what is started from here, \(needed) needed")] }
        return [
            .warning(
                .openFiles,
                "a web node started from here may open \(own) files, and \(connectionsMax) connections are allowed"
                    + " (--max-connections)", mend(needed))
        ]
    }

    private func mend(_ needed: Int) -> DoctorCheck.Mend {
        DoctorCheck.Mend(
            "systemctl edit 'tallymill-web@.service'",
            advice: "Write `[Service]` and `LimitNOFILE=\(needed)` there and restart the node; without systemd,"
                + " `ulimit -Hn \(needed)` as root before the start.")
    }
}

/// A file that holds a password.
public struct SecretFile: Hashable, Sendable {
    public let path: String
    /// As "the password of Redis".
    public let content: String

    public init(path: String, content: String) {
        self.path = path
        self.content = content
    }

    func check(_ host: HostFacts) -> DoctorCheck? {
        guard let access = host.access(path), access.mode & 0o006 != 0 else { return nil }
        let verb = access.mode & 0o004 != 0 ? "read" : "change"
        return .error(
            .secrets, "\(path) holds \(content), and everybody on this host may \(verb) it",
            DoctorCheck.Mend("chmod o-rwx \(ShellWord.quoted(path))"))
    }
}

/// Units against the topology, for the shards that are here and not consumed elsewhere.
struct UnitCheck {
    /// nil without a cluster file whose shards could be looked for.
    let topology: Topology?
    let here: [UInt32]
    let instances: Result<[ConsumerInstance], Failure>

    /// Whether systemd runs consumers here.
    var isInUse: Bool {
        guard case .success(let instances) = instances else { return false }
        return instances.contains { $0.isEnabled || $0.activity != .inactive }
    }

    var all: [DoctorCheck] {
        let instances: [ConsumerInstance]
        switch self.instances {
        case .failure(let failure): return [.skipped(.units, failure.sentence)]
        case .success(let found): instances = found
        }
        guard let topology else { return [.skipped(.units, "there is no cluster file to compare with")] }
        guard isInUse else { return [.skipped(.units, "systemd runs no consumers on this host")] }
        let plan = ScalePlan(instances, wanted: here, partitions: topology.partitions)
        var found: [DoctorCheck] = []
        if !plan.notices.isEmpty {
            found.append(
                .warning(.units, plan.notices.joined(separator: "; "), mend(plan.steps.filter { !$0.isWanted })))
        }
        found += instances.compactMap { failing($0) }
        // Those that fail are told above.
        let stopped = plan.steps.filter { step in
            step.action == .enable
                && !instances.contains { $0.unit == step.unit && ($0.activity == .failed || $0.isRestarting) }
        }
        if !stopped.isEmpty {
            let units = stopped.map(\.unit).joined(separator: ", ")
            found.append(
                .warning(.units, "\(units): not enabled or not running, and the shard is here", mend(stopped)))
        }
        return found.orOK(.units, "consumers of partitions \(PartitionList.text(here)) are enabled and running")
    }

    private func mend(_ steps: [ScalePlan.Step]) -> DoctorCheck.Mend {
        // Without a list it would be all partitions.
        let scale = "`tallymill scale --partitions \(PartitionList.text(here)) --apply` does it."
        return DoctorCheck.Mend(steps.map(\.command), advice: here.isEmpty ? nil : scale)
    }

    private func failing(_ instance: ConsumerInstance) -> DoctorCheck? {
        guard let number = instance.partition, here.contains(number) else { return nil }
        let unit = instance.unit
        if instance.activity == .failed {
            return .error(
                .units, "\(unit) has failed",
                DoctorCheck.Mend(
                    "journalctl -u \(unit) -n 20", "systemctl reset-failed \(unit)", "systemctl start \(unit)"))
        }
        guard instance.isRestarting else { return nil }
        return .error(
            .units, "\(unit) ends again and again, and is started each time",
            DoctorCheck.Mend("journalctl -u \(unit) -n 20"))
    }
}

extension ConsumerInstance {
    fileprivate var isRestarting: Bool { detail.hasPrefix("auto-restart") }
}
