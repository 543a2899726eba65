// What lies in the data folder and belongs to nothing: traces of tools that were interrupted, and files that somebody
// put there. Only names that Tallymill itself gives are judged; anything else is the operator's own.

import Glibc
import ServiceKit
import TallyCore

enum Leftovers {
    /// - Throws: 74 if a folder cannot be read.
    static func find(in folder: DataFolder, _ file: ClusterFile) throws(Failure) -> [Finding] {
        let kept = file.earlier.filter { !$0.isPurged }.map(\.epoch) + [file.topology.epoch]
        let epochs = Set(kept.map { name(of: folder.epochPath($0)) })
        let purged = Set(file.earlier.filter(\.isPurged).map { name(of: folder.epochPath($0.epoch)) })
        var findings: [Finding] = []
        for name in try Folder.names(in: folder.path) ?? [] {
            let path = "\(folder.path)/\(name)"
            if path == folder.journalPath {
                findings.append(
                    Finding(
                        nil, path, "the journal of a rebalance that has not ended",
                        "`tallymill rebalance status` says what it is about, `tallymill rebalance resume` ends it."))
            } else if name.hasPrefix("epoch-"), name.hasSuffix(".staging") {
                findings.append(
                    Finding(
                        nil, path, "a folder of shards that were never completed",
                        "Nothing uses it. If no tool is at work, delete it."))
            } else if purged.contains(name) {
                findings.append(
                    Finding(
                        nil, path, "a folder of an epoch that was purged",
                        "Nothing uses it: move it away. If an older copy of the data folder was put here, take the "
                            + "newest."
                    ))
            } else if name.hasPrefix("epoch-"), !epochs.contains(name) {
                findings.append(
                    Finding(
                        nil, path, "a folder of an epoch that the cluster file does not know",
                        "The cluster file may be an old copy: compare it with the newest one. Otherwise move the "
                            + "folder away."))
            }
        }
        return try findings + strangers(in: folder, file.topology)
    }

    /// Shard files in the current epoch's folder that are none of its shards.
    private static func strangers(in folder: DataFolder, _ topology: Topology) throws(Failure) -> [Finding] {
        let path = folder.epochPath(topology.epoch)
        let own = Set(topology.partitionIDs.map { DataFolder.shardName($0, of: topology.partitions) })
        return (try Folder.names(in: path) ?? []).filter { $0.hasPrefix("shard-") }.filter { name in
            let shard = [".lock", "-wal", "-shm"].first { name.hasSuffix($0) }.map { String(name.dropLast($0.count)) }
            return !own.contains(shard ?? name)
        }.map { name in
            Finding(
                nil, "\(path)/\(name)", "a file that is none of the \(topology.partitions) shards of this epoch",
                "Nothing uses it: move it away.")
        }
    }

    private static func name(of path: String) -> String {
        path.split(separator: "/").last.map { String($0) } ?? path
    }
}
