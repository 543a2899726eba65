// Which machine this is, and which process: what a lease says about its holder.

import Glibc
public import ServiceKit
import TallyCore

/// This machine and process.
public enum Host {
    /// The same for all processes of this machine, until it is installed anew.
    ///
    /// - Throws: 78 if the machine has no id.
    public static func identity() throws(Failure) -> String {
        for path in ["/etc/machine-id", "/proc/sys/kernel/random/boot_id"] {
            if let bytes = try FileContent.readIfPresent(path, maximumBytes: 4_096) {
                let text = String(decoding: bytes, as: UTF8.self).prefix { !$0.isWhitespace }
                if !text.isEmpty { return String(text) }
            }
        }
        throw Failure(
            .configuration, "this machine has no id", at: "/etc/machine-id",
            advice: "`systemd-machine-id-setup` makes one.")
    }

    /// Host name and process number.
    public static var owner: String {
        var name = [CChar](repeating: 0, count: 256)
        let isKnown = gethostname(&name, name.count - 1) == 0
        let text =
            isKnown ? String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self) : "?"
        return "\(text):\(getpid())"
    }
}

extension Lease {
    /// Whether its holder has ended without giving it back: it was a process of this machine that wrote the shard
    /// behind this lock, and nobody writes that any more.
    ///
    /// - Parameter lock: the path of the shard's lock file.
    func isLeftBehind(lock: String) -> Bool {
        guard let file = Folder.identity(lock) else { return false }
        do throws(Failure) {
            let isOurs = try host == "\(Host.identity()) \(file)"
            return isOurs ? try FileLock.holder(lock) == nil : false
        } catch {
            return false  // not known: whoever cannot look must not say that it is free
        }
    }
}
