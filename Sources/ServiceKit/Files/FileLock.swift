// One process at a time: an exclusive flock(2) on a file that stays where it is. The system gives the lock up when
// the holder ends, however it ends. The file holds the holder's process number for people; the lock is the truth.
// The file is never deleted: a second process could lock a new one while the first still holds the old.
//
// Whoever can open a file, if only to read it, can lock it. So the file is its owner's alone: a member of the group who
// may read everything else must not be able to keep a consumer from starting. Who holds it the system tells everybody.

import Glibc

/// A lock, held until `release` or the end of the object or the process.
public final class FileLock: Sendable {
    /// What came of trying.
    public enum Attempt: Sendable {
        case acquired(FileLock)
        /// Another process holds it; its number, if the file tells one that is alive.
        case held(by: Int32?)
    }

    public let path: String
    private let descriptor: Int32

    /// Takes the lock if it is free; does not wait.
    ///
    /// - Throws: exit code 74 if the file cannot be opened or written.
    public static func attempt(_ path: String) throws(Failure) -> Attempt {
        let descriptor: Int32
        descriptor = try openPrivate(path)
        switch SystemCall.retrying({ flock(descriptor, LOCK_EX | LOCK_NB) }) {
        case .done:
            let lock = FileLock(path: path, descriptor: descriptor)
            try lock.writeHolder()
            return .acquired(lock)
        case .failed(EWOULDBLOCK):
            defer { SystemCall.close(descriptor) }
            return .held(by: readHolder(descriptor))
        case .failed(let number):
            SystemCall.close(descriptor)
            throw Failure(cannot: "lock", errno: number, at: path)
        }
    }

    /// The live process that holds a lock, by its number in the file; nil if nobody does. Changes nothing: the lock
    /// is not taken unless a number that is written there belongs to a process that has nothing to do with it.
    ///
    /// - Throws: exit code 74 if the file is there and cannot be read.
    public static func holder(_ path: String) throws(Failure) -> Int32? {
        let descriptor: Int32
        switch SystemCall.open(path, O_RDONLY) {
        case .done(let opened): descriptor = opened
        case .failed(ENOENT): return nil
        case .failed(EACCES): return SystemLocks.holder(of: path)
        case .failed(let number): throw Failure(cannot: "open the lock file", errno: number, at: path)
        }
        defer { giveBack(descriptor) }
        guard let pid = readHolder(descriptor) else { return nil }
        switch SystemCall.retrying({ flock(descriptor, LOCK_SH | LOCK_NB) }) {
        case .done: return nil
        case .failed(EWOULDBLOCK): return pid
        case .failed(let number): throw Failure(cannot: "ask for the lock", errno: number, at: path)
        }
    }

    /// Makes a lock file for a program that locks it itself, or takes one that is there from all but its owner.
    ///
    /// - Throws: exit code 74 if it cannot be opened.
    public static func prepare(_ path: String) throws(Failure) {
        SystemCall.close(try openPrivate(path))
    }

    /// One of an earlier release is open to others; whose it is, it stays.
    private static func openPrivate(_ path: String) throws(Failure) -> Int32 {
        switch SystemCall.open(path, O_RDWR | O_CREAT, mode: 0o600) {
        case .done(let descriptor):
            _ = fchmod(descriptor, 0o600)  // refused where it is another user's: then it is his to close
            return descriptor
        case .failed(let number): throw Failure(cannot: "open the lock file", errno: number, at: path)
        }
    }

    private init(path: String, descriptor: Int32) {
        self.path = path
        self.descriptor = descriptor
    }

    deinit { Self.giveBack(descriptor) }

    /// A child that another thread has forked and that has not called exec yet shares the lock: closing alone would
    /// leave it to that child.
    private static func giveBack(_ descriptor: Int32) {
        flock(descriptor, LOCK_UN)
        SystemCall.close(descriptor)
    }

    private func writeHolder() throws(Failure) {
        guard ftruncate(descriptor, 0) == 0 else {
            throw Failure(cannot: "empty the lock file", errno: errno, at: path)
        }
        if let number = SystemCall.writeAll(Array("\(getpid())\n".utf8), to: descriptor) {
            throw Failure(cannot: "write the lock file", errno: number, at: path)
        }
    }

    private static func readHolder(_ descriptor: Int32) -> Int32? {
        guard case .done(let bytes) = SystemCall.readUpTo(32, from: descriptor),
            let text = String(validating: bytes, as: UTF8.self), text.hasSuffix("\n"),
            let number = SettingKind.wholeNumber(String(text.dropLast())), let pid = Int32(exactly: number), pid > 0
        else { return nil }
        // A holder that has the lock and not yet written its number leaves that of a dead one to be read.
        let isAlive = kill(pid, 0) == 0 || errno == EPERM
        return isAlive ? pid : nil
    }
}
