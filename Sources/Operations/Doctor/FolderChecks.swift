// The data folder as the file system sees it: room, what kind of disk, and who may read and write what is in it.
//
// A consumer runs as one user, which owns everything; readers are in its group. What a careless `sudo` leaves behind
// is a file of root among the others, which the next consumer cannot open: the owner of the folder says who is right.

import RedisQueue
import ServiceKit
import TallyCore

struct FolderChecks {
    let folder: DataFolder
    /// nil if there is no cluster here.
    let topology: Topology?
    let host: HostFacts

    /// File systems without the locks and the shared memory that SQLite's log needs, or without a sync that one can
    /// rely on.
    static let networkTypes: Set<String> = [
        "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs", "fuse.glusterfs", "glusterfs",
    ]
    static let memoryTypes: Set<String> = ["tmpfs", "ramfs"]

    var all: [DoctorCheck] { disk + [fileSystem] + permissions }

    private var disk: [DoctorCheck] {
        let bytes = topology.flatMap { try? Folder.bytes(folder.epochPath($0.epoch)) } ?? 0  // unknown: nothing to hold
        return DiskCheck(
            name: .dataDisk, path: folder.path, neededBytes: bytes, purpose: "a rebalance makes a second copy and"
        ).look(host)
    }

    private var fileSystem: DoctorCheck {
        guard let type = host.fileSystem(of: folder.path) else {
            return .skipped(.dataFileSystem, "the kernel does not tell the file system of \(folder.path)")
        }
        let move = DoctorCheck.Mend(
            "findmnt -T \(ShellWord.quoted(folder.path))",
            advice: "Stop the consumers, move the data folder to a local disk, and set --data-dir.")
        if Self.memoryTypes.contains(type) {
            return .warning(
                .dataFileSystem, "\(folder.path) is on \(type): what is counted is gone when the host restarts", move)
        }
        if Self.networkTypes.contains(type) {
            return .warning(
                .dataFileSystem, "\(folder.path) is on \(type), over the network: SQLite's log needs a local disk", move
            )
        }
        return .ok(.dataFileSystem, type)
    }

    // MARK: Permissions

    private struct Entry {
        let path: String
        let access: HostFacts.Access
        let isFolder: Bool
        /// A shard or one of the files beside it.
        let isShard: Bool

        func allows(_ bits: UInt32) -> Bool { access.mode & bits == bits }
    }

    private var permissions: [DoctorCheck] {
        guard let topology, let owner = host.access(folder.path) else {
            return [.skipped(.permissions, "there is no cluster file, or it cannot be read")]
        }
        let entries = entries(topology)
        let isOpen = entries.filter(\.isFolder).allSatisfy { $0.allows(0o001) }
        var found: [DoctorCheck] = []
        func add(_ severity: DoctorCheck.Severity, _ change: String, _ what: String, _ wrong: (Entry) -> Bool) {
            let paths = entries.filter(wrong).map(\.path)
            guard let first = paths.first else { return }
            let more = paths.count == 1 ? "" : " and \(paths.count - 1) more"
            let outcome = DoctorCheck.Outcome.found(
                severity, "\(first)\(more): \(what)",
                DoctorCheck.Mend("\(change) \(shellPaths(paths, topology))"))
            found.append(DoctorCheck(name: .permissions, outcome: outcome))
        }
        add(.error, "chown --reference=\(ShellWord.quoted(folder.path))", "not of the owner of the data folder") {
            $0.access.user != owner.user || $0.access.group != owner.group
        }
        add(.error, "chmod u+rw", "its owner may not read and write it") { !$0.allows(0o600) }
        add(.error, "chmod o-w", "everybody on this host may change it") { $0.allows(0o002) }
        add(.warning, "chmod g-w", "the group may change it, only the consumer should") {
            $0.isShard && $0.allows(0o020)
        }
        add(.warning, "chmod g+rX", "the group may not read it, so reports by its members fail") {
            !$0.allows($0.isFolder ? 0o050 : 0o040)
        }
        add(.warning, "chmod o-rwx", "everybody on this host may read the counts") {
            isOpen && $0.isShard && $0.allows(0o004)
        }
        return found.orOK(.permissions, "one owner, who alone may write; the group may read")
    }

    /// What is there and can be looked at.
    private func entries(_ topology: Topology) -> [Entry] {
        var entries: [Entry] = []
        func add(_ path: String, isFolder: Bool = false, isShard: Bool = false) {
            guard let access = host.access(path) else { return }
            entries.append(Entry(path: path, access: access, isFolder: isFolder, isShard: isShard))
        }
        add(folder.path, isFolder: true)
        add(folder.clusterFilePath)
        add(folder.epochPath(topology.epoch), isFolder: true)
        for partition in topology.partitionIDs {
            let path = folder.shardPath(partition, of: topology.partitions)
            for suffix in ["", "-wal", "-shm"] { add(path + suffix, isShard: true) }
        }
        return entries
    }

    /// All shards by one pattern if they are many: what is right for some of them is right for all.
    private func shellPaths(_ paths: [String], _ topology: Topology) -> String {
        let epoch = folder.epochPath(topology.epoch)
        let inEpoch = paths.filter { $0.hasPrefix(epoch + "/") }
        guard inEpoch.count > 4 else { return paths.map { ShellWord.quoted($0) }.joined(separator: " ") }
        let others = paths.filter { !inEpoch.contains($0) }.map { ShellWord.quoted($0) }
        return (others + ["\(ShellWord.quoted(epoch))/shard-*"]).joined(separator: " ")
    }
}
