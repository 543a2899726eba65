// Who holds a lock, as the system lists it: for files that we may not open.
//
// A line of /proc/locks, see proc(5): "1: FLOCK  ADVISORY  WRITE 4711 fe:01:1835011 0 EOF". The device is in
// hexadecimal digits; a process that only waits has "->" behind its number.

import Glibc

enum SystemLocks {
    private static let bytesMax = 1 << 20

    /// The process that holds an flock(2) on the file; nil if nobody does, or the system does not tell.
    static func holder(of path: String) -> Int32? {
        var status = stat()
        guard stat(path, &status) == 0,
            let text = try? FileContent.readIfPresent("/proc/locks", maximumBytes: bytesMax)  // a sandbox may hide it
        else { return nil }
        return holder(of: name(device: UInt64(status.st_dev), file: UInt64(status.st_ino)), in: text)
    }

    static func holder(of name: String, in text: [UInt8]) -> Int32? {
        for line in text.split(separator: UInt8(ascii: "\n")) {
            let words = String(decoding: line, as: UTF8.self).split(separator: " ")
            guard words.count >= 6, words[1] == "FLOCK", words[5] == name else { continue }
            if let pid = Int32(words[4]), pid > 0 { return pid }
        }
        return nil
    }

    /// As the system writes it.
    static func name(device: UInt64, file: UInt64) -> String {
        let major = device >> 8 & 0xfff | device >> 32 & 0xffff_f000
        let minor = device & 0xff | device >> 12 & 0xffff_ff00
        return "\(hex(major)):\(hex(minor)):\(file)"
    }

    private static func hex(_ number: UInt64) -> String {
        let digits = String(number, radix: 16)
        return digits.count < 2 ? "0" + digits : digits
    }
}
