// What can be wrong with a shard file: a closed list, because every entry has its own consequence. Full and busy pass
// by themselves: the consumer backs off. Everything else ends the process with the exit code that stands here.
//
// A message says which file, what is wrong with it and what to do; keys and values never appear in one.

import CSQLite
import Glibc
public import TallyCore

/// Why a shard file cannot be used, now or at all.
public struct StoreError: Error, Hashable, Sendable {
    /// What kind of failure it is.
    public enum Code: String, Hashable, Sendable, CaseIterable {
        /// SQLite cannot make sense of the file.
        case corrupt
        /// Another connection holds SQLite's lock. Nothing was written; it may work later.
        case busy
        /// No space on the disk. Nothing was written; it may work later.
        case full
        /// Reading or writing failed. Only a new process may use the file again.
        case io
        /// It is a sound file, but another one than expected.
        case mismatch
        /// Batches that were once committed are not in the file: it was replaced by a backup.
        case tooOld
        /// Another process is the file's writer.
        case locked
        /// There is no such file.
        case missing
        /// There is a file where one was to be created.
        case exists
        /// The process may not read or write it.
        case permission
        /// Anything else that SQLite reports.
        case other
    }

    public let code: Code
    /// The shard file.
    public let path: String
    /// What is wrong.
    public let cause: String
    /// What an operator can do about it.
    public let remedy: String
    /// The process that is the file's writer, for `locked`, as far as the lock file tells it.
    public let holder: Int32?

    init(_ code: Code, _ path: String, _ cause: String, _ remedy: String, holder: Int32? = nil) {
        self.code = code
        self.path = path
        self.cause = cause
        self.remedy = remedy
        self.holder = holder
    }

    /// Whether the same call may succeed later in this process: back off and try again.
    public var isTemporary: Bool { code == .busy || code == .full }

    /// What a process that cannot go on because of this ends with.
    public var exitCode: Int32 {
        switch code {
        case .corrupt: 65
        case .full, .io: 74
        case .busy, .locked: 75
        case .mismatch, .tooOld, .missing, .exists, .permission: 78
        case .other: 1
        }
    }
}

extension StoreError: CustomStringConvertible {
    public var description: String { "\(path): \(cause); \(remedy)" }
}

extension StoreError {
    /// The file of `partition` does not hold `missing`, which its queue has seen committed.
    public static func tooOld(
        _ path: String, missing: [Consumer.MissingRange], in partition: PartitionID
    ) -> StoreError {
        let ranges = missing.map { range in
            let (first, last) = (range.sequences.lowerBound, range.sequences.upperBound)
            return "\(range.producer) \(first == last ? "\(first)" : "\(first)-\(last)")"
        }
        return StoreError(
            .tooOld, path,
            "the file is older than its queue, these batches (producer, sequences) were committed once and are"
                + " missing: " + ranges.joined(separator: ", "),
            "put back the newest copy of the file; if a consumer elsewhere works on another copy, that one is the"
                + " newest; if there is none any more, " + acceptLoss(of: missing, in: partition)
        )
    }

    /// What an operator can do about batches that nobody has any more.
    public static func acceptLoss(of missing: [Consumer.MissingRange], in partition: PartitionID) -> String {
        let options = missing.map { range in
            "--accept-loss " + StreamID(partition: partition, producer: range.producer).name(of: range.sequences)
        }
        let all =
            options.count <= 3 ? options.joined(separator: " ") : "--accept-loss PARTITION/PRODUCER:FIRST-LAST ..."
        return "`tallymill repair \(all)` goes on without them"
    }

    static func system(_ number: Int32, _ doing: String, _ path: String) -> StoreError {
        let cause = "cannot \(doing): \(String(cString: strerror(number)))"
        return switch number {
        case ENOENT, ENOTDIR: StoreError(.missing, path, cause, Remedy.missing)
        case EACCES, EPERM, EROFS: StoreError(.permission, path, cause, Remedy.permission)
        case ENOSPC, EDQUOT: StoreError(.full, path, cause, Remedy.full)
        default: StoreError(.io, path, cause, Remedy.io)
        }
    }

    /// - Parameters:
    ///   - result: SQLite's extended result code.
    ///   - lastNumber: the error number of the last system call of the connection that failed, ever.
    static func sqlite(
        _ result: Int32, system lastNumber: Int32, message: String, doing: String, path: String
    ) -> StoreError {
        let comesFromSystem = [SQLITE_IOERR, SQLITE_CANTOPEN, SQLITE_FULL].contains(result & 0xFF)
        let number = comesFromSystem ? lastNumber : 0
        var cause = "cannot \(doing): \(message) (SQLite \(result)"
        if number != 0 { cause += ", \(String(cString: strerror(number)))" }
        cause += ")"
        return switch result & 0xFF {
        case SQLITE_CORRUPT, SQLITE_NOTADB: StoreError(.corrupt, path, cause, Remedy.corrupt)
        case SQLITE_BUSY, SQLITE_LOCKED:
            StoreError(.busy, path, cause, "end the transaction that another program has open on the file")
        case SQLITE_FULL: StoreError(.full, path, cause, Remedy.full)
        // SQLite reports a full disk in some places, such as the shared memory file, as an I/O error.
        case SQLITE_IOERR where number == ENOSPC || number == EDQUOT:
            StoreError(.full, path, cause, Remedy.full)
        case SQLITE_IOERR: StoreError(.io, path, cause, Remedy.io)
        case SQLITE_CANTOPEN where number == ENOENT: StoreError(.missing, path, cause, Remedy.missing)
        case SQLITE_CANTOPEN, SQLITE_READONLY, SQLITE_PERM, SQLITE_AUTH:
            StoreError(.permission, path, cause, Remedy.permission)
        default: StoreError(.other, path, cause, "report it with this message")
        }
    }

    /// SQLite takes no longer path, whatever the system does; nil if this is none.
    static func longPath(_ path: String) -> StoreError? {
        var bytes = path.utf8.count
        if !path.hasPrefix("/"), let folder = getcwd(nil, 0) {
            bytes += strlen(folder) + 1
            free(folder)
        }
        guard bytes > SystemFile.pathBytesMax else { return nil }
        return StoreError(
            .permission, path, "its path from the root has \(bytes) bytes, and SQLite takes \(SystemFile.pathBytesMax)",
            "move it, or reach it by a shorter path: `mount --bind` gives one")
    }

    enum Remedy {
        static let corrupt = "restore the file from a backup"
        static let full = "free space on its disk"
        static let io = "check the disk and the system log"
        static let missing = "check the data folder, or restore the file from a backup"
        static let permission = "run as the user that owns it, or give this user access to the file and its folder"
    }
}
