// Starting programs for tests: by name, in a process group of their own, with nothing inherited but stderr.

import CPlatform
import Glibc

/// A program that was started; to be waited for.
public enum Spawn {
    /// Starts `arguments[0]` and returns its process id.
    ///
    /// - Parameter input: the descriptor that becomes stdin; nil for none.
    static func start(_ arguments: [String], input: Int32? = nil) -> pid_t {
        var actions = posix_spawn_file_actions_t()
        var attributes = posix_spawnattr_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawnattr_init(&attributes)
        defer {
            posix_spawn_file_actions_destroy(&actions)
            posix_spawnattr_destroy(&attributes)
        }
        if let input {
            posix_spawn_file_actions_adddup2(&actions, input, 0)
        } else {
            posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        }
        posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
        precondition(tm_spawn_close_from(&actions, 3) == 0, "a descriptor would be inherited")
        // A terminal's Ctrl-C reaches the tests alone, and the ignored SIGPIPE stays theirs.
        var defaults = sigset_t()
        sigemptyset(&defaults)
        sigaddset(&defaults, SIGPIPE)
        posix_spawnattr_setsigdefault(&attributes, &defaults)
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF))
        var pointers: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        defer { for pointer in pointers { free(pointer) } }
        var pid: pid_t = 0
        let code = posix_spawnp(&pid, arguments[0], &actions, &attributes, &pointers, environ)
        precondition(code == 0, "cannot start \(arguments[0]): \(String(cString: strerror(code)))")
        return pid
    }

    /// Waits for the end of a program; its wait status.
    @discardableResult
    static func wait(_ pid: pid_t) -> Int32 {
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        return status
    }

    /// Runs a program to its end, which must be a success.
    public static func run(_ arguments: String...) {
        precondition(wait(start(arguments)) == 0, "\(arguments) failed")
    }
}
