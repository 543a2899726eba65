// What a process leaves behind for others: files, and an image of its memory when it crashes.

import Glibc

/// Limits of this process.
public enum ProcessLimits {
    /// Whatever it creates from now on, and the programs that it starts, nobody but its user may change, and nobody but
    /// its group may read. To be called before there are threads.
    public static func keepFilesFromOthers() {
        _ = umask(umask(0o027) | 0o027)  // umask(2) cannot fail
    }

    /// No image of the memory of this process, or of a program that it starts, is left when it crashes: passwords and
    /// tokens are in there, and so is what clients sent. systemd-coredump and apport go by this limit, too. Whoever
    /// looks for a crash raises it again: `prlimit --core=unlimited --pid`.
    public static func leaveNoImage() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &limit) == 0 else { return }
        limit.rlim_cur = 0
        _ = setrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &limit)  // lowering is always allowed
    }
}
