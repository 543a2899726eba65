// What `doctor` asks the operating system, as values and closures: a test gives other answers, and what a check makes
// of them is the same code. The files of /proc and /sys are read below a root that can be another folder.

import Glibc
public import ServiceKit

/// The host as the checks see it.
public struct HostFacts: Sendable {
    /// Room on the file system of a path.
    public struct Disk: Hashable, Sendable {
        public let totalBytes: Int
        /// For users that are not root.
        public let freeBytes: Int
        /// Files that can still be made; nil if the file system does not count them.
        public let freeFiles: Int?

        public init(totalBytes: Int, freeBytes: Int, freeFiles: Int? = nil) {
            self.totalBytes = totalBytes
            self.freeBytes = freeBytes
            self.freeFiles = freeFiles
        }
    }

    /// Who may do what with a file or folder.
    public struct Access: Hashable, Sendable {
        /// The twelve bits of chmod.
        public var mode: UInt32
        public var user: UInt32
        public var group: UInt32

        public init(mode: UInt32, user: UInt32, group: UInt32) {
            self.mode = mode
            self.user = user
            self.group = group
        }
    }

    /// A web node that runs here.
    struct WebProcess: Hashable, Sendable {
        let pid: Int32
        /// The hard limit of open files, to which it raises its own.
        let filesMax: Int
    }

    /// Where `proc` and `sys` are, "" for the system's.
    public var root = ""
    /// Milliseconds since 1970.
    public var wallClock: @Sendable () -> Int64 = { WallClock.milliseconds() }
    public var disk: @Sendable (String) throws(Failure) -> Disk = { path throws(Failure) in try Disk(of: path) }
    /// nil if there is no such file, or this user may not look.
    public var access: @Sendable (String) -> Access? = { Access(of: $0) }

    public init() {}

    /// A small file of the kernel; nil if it is not there or cannot be read.
    func text(_ path: String) -> String? {
        let bytes = try? FileContent.readIfPresent(root + path, maximumBytes: 4 << 20)  // either way there is no value
        return bytes.map { String(decoding: $0, as: UTF8.self) }
    }

    /// The type of the file system that a path is on, such as `ext4`; nil if the kernel does not tell.
    func fileSystem(of path: String) -> String? {
        guard let table = text("/proc/self/mountinfo") else { return nil }
        let real = Self.resolved(path) ?? path
        var best: (length: Int, type: String)?
        for line in table.split(separator: "\n") {
            let fields = line.split(separator: " ")
            guard fields.count > 4, let dash = fields.firstIndex(of: "-"), dash + 1 < fields.count else { continue }
            let point = Self.unescaped(fields[4])
            guard point == "/" || real == point || real.hasPrefix(point + "/") else { continue }
            // A later mount on the same point hides the earlier one.
            if point.utf8.count >= best?.length ?? 0 { best = (point.utf8.count, String(fields[dash + 1])) }
        }
        return best?.type
    }

    /// Web nodes, by their command lines.
    func webProcesses() -> [WebProcess] {
        guard let names = try? Folder.names(in: root + "/proc") else { return [] }  // no /proc: nobody is seen
        return names.compactMap { Int32($0) }.sorted().compactMap { pid in
            // Processes come and go: one that cannot be read is gone.
            let words = text("/proc/\(pid)/cmdline")?.split(separator: "\0") ?? []
            guard words.count > 1, words[1] == "web", words[0].split(separator: "/").last == "tallymill",
                let limits = text("/proc/\(pid)/limits"), let filesMax = Self.hardFileLimit(limits)
            else { return nil }
            return WebProcess(pid: pid, filesMax: filesMax)
        }
    }

    /// The hard limit of open files of this process.
    func ownFilesMax() -> Int? { text("/proc/self/limits").flatMap { Self.hardFileLimit($0) } }

    private static func hardFileLimit(_ limits: String) -> Int? {
        guard let line = limits.split(separator: "\n").first(where: { $0.hasPrefix("Max open files") }) else {
            return nil
        }
        let fields = line.split(separator: " ")
        guard fields.count > 4 else { return nil }
        return fields[4] == "unlimited" ? .max : Int(fields[4])
    }

    /// The kernel writes spaces and the like in octal.
    private static func unescaped(_ text: Substring) -> String {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "\\"), let code = UInt8(String(decoding: rest.prefix(3), as: UTF8.self), radix: 8) {
                bytes.append(code)
                rest = rest.dropFirst(3)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func resolved(_ path: String) -> String? {
        guard let pointer = realpath(path, nil) else { return nil }
        defer { free(pointer) }
        return String(cString: pointer)
    }
}

extension HostFacts.Disk {
    init(of path: String) throws(Failure) {
        var status = statvfs()
        guard statvfs(path, &status) == 0 else { throw Failure(cannot: "look at the disk", errno: errno, at: path) }
        let unit = UInt64(status.f_frsize)
        self.init(
            totalBytes: Int(clamping: UInt64(status.f_blocks) &* unit),
            freeBytes: Int(clamping: UInt64(status.f_bavail) &* unit),
            freeFiles: status.f_files == 0 ? nil : Int(clamping: status.f_favail))
    }
}

extension HostFacts.Access {
    fileprivate init?(of path: String) {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        self.init(mode: status.st_mode & 0o7777, user: status.st_uid, group: status.st_gid)
    }
}
