// What the system knows of this process, for its metrics: read from /proc/self, cheap enough for once a second.

import Glibc

/// A look at this process.
public struct ProcessFacts: Hashable, Sendable {
    /// Processor time of all threads, user and system.
    public let processorSeconds: Double
    public let residentBytes: UInt64
    public let openFiles: Int
    /// The soft limit.
    public let openFilesMax: UInt64

    /// nil where there is no /proc.
    public init?() {
        var usage = rusage()
        guard getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0, let pages = Self.residentPages(),
            let files = Self.openFiles()
        else {
            return nil
        }
        processorSeconds = Self.seconds(usage.ru_utime) + Self.seconds(usage.ru_stime)
        residentBytes = pages * UInt64(sysconf(Int32(_SC_PAGESIZE)))
        openFiles = files
        var limit = rlimit()
        openFilesMax = getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 ? UInt64(limit.rlim_cur) : 0
    }

    private static func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1e6 }

    /// The second number of /proc/self/statm.
    private static func residentPages() -> UInt64? {
        guard case .done(let descriptor) = SystemCall.open("/proc/self/statm", O_RDONLY) else { return nil }
        defer { SystemCall.close(descriptor) }
        guard case .done(let bytes) = SystemCall.readUpTo(256, from: descriptor) else { return nil }
        let numbers = String(decoding: bytes, as: UTF8.self).split(separator: " ")
        return numbers.count > 1 ? UInt64(numbers[1]) : nil
    }

    private static func openFiles() -> Int? {
        guard let folder = opendir("/proc/self/fd") else { return nil }
        defer { closedir(folder) }
        var count = 0
        while readdir(folder) != nil { count += 1 }
        return count - 3  // ".", ".." and the folder itself
    }
}
