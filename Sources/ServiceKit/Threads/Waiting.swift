// One thread that waits for several descriptors and has nothing else to do. A thread that has needs an event loop.

import Glibc

/// Waiting for the first of several descriptors.
public enum Waiting {
    /// The position of one that is readable or was closed; the earlier ones first.
    ///
    /// - Parameter descriptors: at least one, or it waits for ever.
    /// - Throws: exit code 1.
    public static func wait(for descriptors: [Int32]) throws(Failure) -> Int {
        var entries = descriptors.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        while true {
            let count = poll(&entries, nfds_t(entries.count), -1)
            if count > 0, let ready = entries.firstIndex(where: { $0.revents != 0 }) { return ready }
            guard count >= 0 || errno == EINTR else {
                throw Failure(cannot: "wait for the first of several descriptors", errno: errno, code: .failure)
            }
        }
    }
}
