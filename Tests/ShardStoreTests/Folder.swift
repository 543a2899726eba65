// A folder for one test, removed with it, and the shard in it.

import Glibc
import ShardStore
import TallyCore

final class Folder {
    let path: String

    init() {
        var template = Array("/tmp/tallymill-shard-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { preconditionFailure("no temporary folder") }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        // Readable by the tests that run as another user.
        chmod(path, 0o755)
    }

    deinit { Child.run("/bin/rm", ["-rf", path]) }

    var shard: String { path + "/shard.sqlite" }
    var exists: Bool { size(shard) >= 0 }

    func write(_ bytes: [UInt8], to name: String) -> String {
        let file = path + "/" + name
        let descriptor = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
        precondition(Glibc.write(descriptor, bytes, bytes.count) == bytes.count)
        close(descriptor)
        return file
    }
}

/// Overwrites one byte of a file that nobody has open.
func flip(_ path: String, at offset: Int) {
    let descriptor = open(path, O_RDWR)
    var byte: UInt8 = 0
    precondition(pread(descriptor, &byte, 1, offset) == 1)
    byte ^= 0xFF
    precondition(pwrite(descriptor, &byte, 1, offset) == 1)
    close(descriptor)
}

func mode(_ path: String) -> mode_t {
    var status = stat()
    return stat(path, &status) == 0 ? status.st_mode & 0o777 : 0
}

func size(_ path: String) -> Int {
    var status = stat()
    return stat(path, &status) == 0 ? Int(status.st_size) : -1
}

extension ShardIdentity {
    static let sample = ShardIdentity(
        cluster: ClusterID(Bytes16(high: 0xC1, low: 1)), partition: PartitionID(epoch: 3, number: 5), partitions: 8,
        uuid: ShardUUID(Bytes16(high: 0x0A, low: 2)))

    var expectation: ShardExpectation {
        ShardExpectation(cluster: cluster, partition: partition, partitions: partitions, uuid: uuid)
    }
}

extension ShardFile {
    static func createSample(_ path: String, start: ShardStart = .nothing) throws(StoreError) {
        try create(at: path, identity: .sample, start: start, timeMilliseconds: 1_000)
    }

    static func openSample(_ path: String) throws(StoreError) -> ShardFile {
        try open(at: path, expecting: ShardIdentity.sample.expectation)
    }

    /// A new shard in `folder`, opened.
    static func sample(in folder: Folder) throws(StoreError) -> ShardFile {
        try createSample(folder.shard)
        return try openSample(folder.shard)
    }
}

/// What SQLite's own shell prints for a statement on a shard, without the last line end. It leaves the file as it is.
func shell(_ path: String, _ sql: String) -> String {
    Child.run("/usr/bin/sqlite3", ["-readonly", "-batch", path, sql]).output
}
