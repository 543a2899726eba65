// Who holds an old state of a shard: a report, an export or a backup whose output nobody takes, or a shell of sqlite3
// with an open transaction. Counting goes on meanwhile, but the shard's log cannot be copied into the file and grows.

import Glibc
import ServiceKit
import ShardStore
import TallyCore

struct ReaderChecks {
    /// Who reads only in passing is not told: a reader must be met by all of so many looks.
    static let looks = 20
    static let lookMilliseconds: UInt32 = 50

    let folder: DataFolder
    let topology: Topology
    /// The shards that are here.
    let here: [UInt32]

    /// What was found; empty if nobody holds a shard.
    func found() -> [DoctorCheck] {
        var lasting = readers()
        for _ in 1..<Self.looks where !lasting.isEmpty {
            usleep(Self.lookMilliseconds * 1_000)
            let now = readers()
            lasting = lasting.intersection(now)
        }
        return lasting.sorted { ($0.partition, $0.process) < ($1.partition, $1.process) }.map(finding)
    }

    private struct Reader: Hashable {
        let partition: UInt32
        let process: Int32
    }

    private func path(of number: UInt32) -> String {
        folder.shardPath(PartitionID(epoch: topology.epoch, number: number), of: topology.partitions)
    }

    private func readers() -> Set<Reader> {
        var readers: Set<Reader> = []
        for number in here {
            let path = path(of: number)
            let writer = try? FileLock.holder(path + ".lock")  // unknown: then it is told as a reader
            for process in ShardReaders.processes(of: path) where process != writer {
                readers.insert(Reader(partition: number, process: process))
            }
        }
        return readers
    }

    private func finding(_ reader: Reader) -> DoctorCheck {
        let path = path(of: reader.partition)
        let who = reader.process == 0 ? "a process of another container" : "process \(reader.process)"
        let bytes = Humanized.bytes(ShardReaders.logBytes(of: path))
        return .warning(
            .shards,
            "partition \(reader.partition): \(who) holds an old state of \(path): its log (\(bytes)) is not copied into"
                + " the file, and grows",
            DoctorCheck.Mend(
                reader.process == 0 ? [] : ["ps -o pid,etime,args -p \(reader.process)"],
                advice: "Nothing is lost, and counting goes on. End that process if nobody takes its output."))
    }
}
