import Glibc
import ServiceKit

/// Memory of another process.
enum ResidentMemory {
    /// Bytes that are in memory now.
    ///
    /// - Throws: 64 if there is no such process.
    static func bytes(of process: Int32) throws(Failure) -> Int {
        let path = "/proc/\(process)/statm"
        guard let bytes = try FileContent.readIfPresent(path, maximumBytes: 4_096) else {
            throw Failure(.usage, "--pid: there is no process \(process)")
        }
        let fields = String(decoding: bytes, as: UTF8.self).split(separator: " ")
        guard fields.count > 1, let pages = Int(fields[1]) else {
            throw Failure(.ioError, "this is no statm: \(fields.count) fields", at: path)
        }
        return pages * sysconf(Int32(_SC_PAGESIZE))
    }
}
