// A folder of a test's own under the system's temporary folder, and the few file operations that tests need.
//
// It is removed when the test has passed; after a failure it is kept and its path printed, because the logs, the
// shards and Redis's files in it are the evidence.

import Glibc

/// A temporary folder.
public final class TestFolder {
    public let path: String
    private var isKept = false

    public init(_ name: String) throws(HarnessError) {
        let base = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        var template = Array("\(base)/tm-\(name)-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw HarnessError(cannot: "make a folder under \(base)") }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Leaves the folder where it is.
    public func keep() { isKept = true }

    /// Removes the folder, unless it is to be kept.
    public func remove() {
        if isKept {
            note("kept for inspection: \(path)")
        } else {
            Files.removeTree(path)
        }
    }
}

public enum Files {
    /// The whole content, nil if it cannot be read (files under /proc vanish at any time).
    public static func read(_ path: String) -> [UInt8]? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var content: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count < 0 { return nil }
            if count == 0 { return content }
            content += chunk[..<count]
        }
    }

    /// The whole content as text, empty if it cannot be read.
    public static func text(_ path: String) -> String { String(decoding: read(path) ?? [], as: UTF8.self) }

    public static func write(_ bytes: [UInt8], to path: String) throws(HarnessError) {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw HarnessError(cannot: "create \(path)") }
        defer { close(descriptor) }
        guard Glibc.write(descriptor, bytes, bytes.count) == bytes.count else {
            throw HarnessError(cannot: "write \(path)")
        }
    }

    /// Writes zeros until the file system has no byte left.
    public static func fill(_ path: String) throws(HarnessError) {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw HarnessError(cannot: "create \(path)") }
        defer { close(descriptor) }
        for size in [1 << 16, 512, 1] {
            let zeros = [UInt8](repeating: 0, count: size)
            while Glibc.write(descriptor, zeros, size) > 0 {}
        }
    }

    /// The names in a folder, without `.` and `..`; empty if there is no such folder.
    public static func names(in folder: String) -> [String] {
        guard let stream = opendir(folder) else { return [] }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    public static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    public static func makeFolder(_ path: String) throws(HarnessError) {
        guard mkdir(path, 0o755) == 0 else { throw HarnessError(cannot: "make the folder \(path)") }
    }

    public static func move(_ old: String, to new: String) throws(HarnessError) {
        guard rename(old, new) == 0 else { throw HarnessError(cannot: "rename \(old) to \(new)") }
    }

    /// Copies a tree as it is; a file that vanishes meanwhile is no error.
    public static func copyTree(_ source: String, to target: String) throws(HarnessError) {
        let result = try Command.run("/bin/cp", ["-a", source, target], within: 30)
        guard result.code == 0 || result.errorText.contains("No such file") else {
            throw HarnessError("cannot copy \(source): \(result.errorText)")
        }
    }

    public static func removeTree(_ path: String) {
        precondition(path.contains("/tm-"), "only a test's own folder is ever removed")
        _ = try? Command.run("/bin/rm", ["-rf", "--one-file-system", path], within: 30)  // what stays is in /tmp
    }
}
