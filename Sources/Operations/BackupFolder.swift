// A backup that was made: what its manifest says, and whether that is what is there.

public import ServiceKit
import ShardConsumer
import ShardStore
import Synchronization
public import TallyCore

/// The folder of a backup.
public struct BackupFolder: Sendable {
    public let path: String
    public let manifest: BackupManifest
    /// The cluster file as it was.
    public let file: ClusterFile

    private static let fileBytesMax = 1 << 20

    /// Reads manifest and cluster file.
    ///
    /// - Throws: 78 if the folder is no complete backup; 65 if its two files contradict each other; 74.
    public init(_ path: String) throws(Failure) {
        self.path = Folder.trimmed(path)
        let manifestPath = "\(self.path)/\(BackupManifest.fileName)"
        guard let text = try FileContent.readIfPresent(manifestPath, maximumBytes: Self.fileBytesMax) else {
            throw Failure(
                .configuration, "there is no backup: it has no \(BackupManifest.fileName)", at: self.path,
                advice: "The manifest is written last: a backup without it was interrupted.")
        }
        do throws(ManifestError) {
            manifest = try BackupManifest(json: text)
        } catch {
            throw Failure(
                .configuration, "this is no manifest of a backup: \(error)", at: manifestPath,
                advice: "Use another backup, or the release that made this one.")
        }
        guard let file = try DataFolder(self.path).readClusterFile() else {
            throw Failure(
                .configuration, "the backup has no \(DataFolder.clusterFileName)", at: self.path,
                advice: "Files were removed from it: use another backup.")
        }
        guard file.topology == manifest.topology, file.state == .ready else {
            throw Failure(
                .corrupt, "manifest and cluster file are of different clusters or epochs", at: self.path,
                advice: "Files were exchanged in it: use another backup.")
        }
        self.file = file
    }

    func path(of shard: BackupManifest.Shard) -> String { "\(path)/\(shard.file)" }

    /// What the shard of a partition has to be.
    func expectation(_ number: Int) -> ShardExpectation {
        let topology = manifest.topology
        return ShardExpectation(
            cluster: topology.cluster, partition: PartitionID(epoch: topology.epoch, number: UInt32(number)),
            partitions: topology.partitions, uuid: manifest.shards[number].uuid)
    }

    /// Compares every file with the manifest: size, hash, identity, keys and total, the last two by counting.
    ///
    /// - Parameter tick: gets the bytes read so far.
    /// - Returns: what is wrong, by file, each a sentence; empty if nothing is.
    /// - Throws: 74 if a file cannot be read.
    public func check(tick: (Int) -> Void = { _ in }) throws(Failure) -> [String] {
        let progress = CheckProgress()
        let backup = self
        try Workers.run(manifest.shards.count, name: "verify", tick: { tick(progress.bytes) }) {
            number, _ throws(Failure) in
            if let finding = try backup.finding(number, progress) { progress.add(finding) }
        }
        return progress.findings
    }

    /// What is wrong with one file, nil if nothing is.
    private func finding(_ number: Int, _ progress: CheckProgress) throws(Failure) -> String? {
        let shard = manifest.shards[number]
        let path = path(of: shard)
        guard Folder.exists(path) else { return "\(path): the file is missing" }
        let content = try FileHash(path) { bytes in progress.add(bytes: bytes.count) }
        if content.bytes != shard.bytes {
            return "\(path): it has \(content.bytes) bytes, the manifest says \(shard.bytes)"
        }
        if content.hash != shard.hash {
            let (found, expected) = (BackupManifest.text(content.hash), BackupManifest.text(shard.hash))
            return "\(path): its XXH64 is \(found), the manifest says \(expected)"
        }
        do throws(Failure) {
            return try onStore { () throws(StoreError) in
                let reader = try ShardReader(copyAt: path, expecting: expectation(number))
                let (said, found) = (try reader.statistics(), try reader.totals())
                if said.keys != shard.keys || said.total != shard.total {
                    return "\(path): it says \(Humanized.count(said.keys, "key")) and total \(said.total), the"
                        + " manifest \(shard.keys) and \(shard.total)"
                }
                if found.keys != shard.keys || found.sum != shard.total {
                    return "\(path): it holds \(Humanized.count(found.keys, "key")) and total \(found.sum), the"
                        + " manifest says \(shard.keys) and \(shard.total)"
                }
                return nil
            }
        } catch {
            return error.sentence
        }
    }
}

/// What the threads have read and found.
private final class CheckProgress: Sendable {
    private let state = Mutex((bytes: 0, findings: [String]()))

    func add(bytes: Int) { state.withLock { $0.bytes += bytes } }
    func add(_ finding: String) { state.withLock { $0.findings.append(finding) } }

    var bytes: Int { state.withLock { $0.bytes } }
    /// By file.
    var findings: [String] { state.withLock { $0.findings.sorted() } }
}
