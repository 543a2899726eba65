// `export`: all counters of the current epoch in byte order of their keys, in the forms that `import` reads.
//
// It reads the cluster file and the shards, while consumers run or not, in constant memory. Each shard is one snapshot;
// between shards there is none. An export is all or nothing: what goes to a file has another name until it is
// complete, and a shard that cannot be read ends it before the first line, because a part of the counters that is taken
// for all of them does harm when it is imported elsewhere.

import Glibc
public import ServiceKit
import ShardConsumer
import ShardStore
import TallyCore

/// The form of an export.
public enum ExportFormat: String, CaseIterable, Sendable {
    case text, ndjson, csv, sqlite
}

/// The counters of one epoch, ready to be written.
public struct Export {
    /// Counters of all shards together; of all prefixes, too.
    public let keys: Int
    private let readers: [ShardReader]
    private let prefix: [UInt8]

    /// How often the caller hears how far it is.
    private static let tickRows = 1 << 16

    /// Opens all shards.
    ///
    /// - Parameter prefix: only keys that begin with these bytes.
    /// - Throws: 78 if there is no cluster in the folder or a shard is missing; 65; 74.
    public init(_ folder: DataFolder, prefix: [UInt8] = []) throws(Failure) {
        let topology = try folder.countedTopology()
        self.prefix = prefix
        (readers, keys) = try onStore { () throws(StoreError) in
            var keys = 0
            let readers = try topology.partitionIDs.map { partition throws(StoreError) in
                let location = folder.shard(partition.number, of: topology)
                let reader = try ShardReader(at: location.path, expecting: location.expected)
                keys += try reader.statistics().keys
                return reader
            }
            return (readers, keys)
        }
    }

    /// Writes everything to a file, or to standard output.
    ///
    /// - Parameters:
    ///   - path: replaced when the export is complete; a pipe or a device is written to. nil for standard output.
    ///   - patience: seconds that nobody may take anything of a pipe or of standard output.
    ///   - tick: gets the number of counters written so far, now and then.
    /// - Returns: the number of counters.
    /// - Throws: 64 for SQLite on standard output; 65 or 74 if a shard fails while it is read; 74.
    public func write(
        _ format: ExportFormat, to path: String?, patience: Int = PatientWrite.snapshotSeconds, tick: (Int) -> Void
    ) throws(Failure) -> Int {
        guard let path else {
            guard format != .sqlite else {
                throw Failure(
                    .usage, "a file of SQLite cannot be written to standard output", at: "--format sqlite",
                    advice: "Name a file with -o.")
            }
            return try writeLines(format, FileOutput(standardOutputAs: "standard output", stallSeconds: patience), tick)
        }
        if Self.isStream(path) {
            guard format != .sqlite else {
                throw Failure(.usage, "a file of SQLite can only be written to a plain file", at: path)
            }
            return try writeLines(format, FileOutput(path, .replace, stallSeconds: patience), tick)
        }
        return try replace(Self.target(of: path), format, tick)
    }

    /// Counts are not the world's.
    private static let modeOfNewFile: UInt32 = 0o640

    private func replace(_ path: String, _ format: ExportFormat, _ tick: (Int) -> Void) throws(Failure) -> Int {
        let unfinished = path + ".partial"
        guard unlink(unfinished) == 0 || errno == ENOENT else {
            throw Failure(cannot: "remove what an earlier export left", errno: errno, at: unfinished)
        }
        do throws(Failure) {
            // A file that was kept from others stays so, and one that was shown to them, too.
            let mode = Self.mode(of: path) ?? Self.modeOfNewFile
            let rows = try writeFile(format, unfinished, mode: mode, tick)
            if chmod(unfinished, mode_t(mode)) != 0 {
                throw Failure(cannot: "set the mode", errno: errno, at: unfinished)
            }
            guard rename(unfinished, path) == 0 else { throw Failure(cannot: "rename", errno: errno, at: unfinished) }
            try AtomicFile.syncFolder(Folder.of(path))
            return rows
        } catch {
            _ = unlink(unfinished)  // the first error is the one to report
            throw error
        }
    }

    /// The file that a link leads to: that is replaced, and the link stays.
    private static func target(of path: String) -> String {
        guard let resolved = realpath(path, nil) else { return path }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    /// nil if there is no file.
    private static func mode(of path: String) -> UInt32? {
        var status = stat()
        return stat(path, &status) == 0 ? status.st_mode & 0o777 : nil
    }

    /// Whether there is something at `path` that is no plain file.
    private static func isStream(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT != S_IFREG
    }

    private func writeFile(
        _ format: ExportFormat, _ path: String, mode: UInt32, _ tick: (Int) -> Void
    ) throws(Failure) -> Int {
        guard format == .sqlite else {
            let output = try FileOutput(path, .refuse, mode: mode)
            let rows = try writeLines(format, output, tick)
            try output.sync()
            return rows
        }
        return try onStore { () throws(StoreError) in
            let file = try NumbersWriter(creating: path)
            var merge = try cursor()
            var rows = 0
            while let counter = merge.current {
                try file.append(key: counter.key, value: counter.value)
                rows += 1
                if rows % Self.tickRows == 0 { tick(rows) }
                try merge.advance()
            }
            try file.finish()
            return rows
        }
    }

    private func cursor() throws(StoreError) -> ShardMerge {
        try ShardMerge(try readers.map { reader throws(StoreError) in try reader.counters(prefix: prefix) })
    }

    private func writeLines(
        _ format: ExportFormat, _ output: FileOutput, _ tick: (Int) -> Void
    ) throws(Failure) -> Int {
        let lines = LineWriter(format, output)
        try lines.begin()
        var merge = try onStore { () throws(StoreError) in try cursor() }
        var rows = 0
        while let counter = merge.current {
            try lines.write(counter.key, counter.value)
            rows += 1
            if rows % Self.tickRows == 0 { tick(rows) }
            try onStore { () throws(StoreError) in try merge.advance() }
        }
        try lines.end()
        return rows
    }
}
