// The three descriptors that every program expects. Whoever starts one with some of them closed (`<&- >&- 2>&-`) has
// its next files and sockets opened under those numbers: a message to standard error would then be written into a lock
// file, or to Redis.

import Glibc

public enum StandardDescriptors {
    /// Opens those that are closed on /dev/null. To be called before anything else is opened.
    public static func openClosed() {
        for descriptor in [STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO] {
            guard fcntl(descriptor, F_GETFD) == -1, errno == EBADF else { continue }
            // The lowest free number is this one: those below it are open by now.
            let opened = open("/dev/null", O_RDWR)
            precondition(opened == descriptor, "descriptor \(descriptor) cannot be opened on /dev/null")
        }
    }
}
