// Files that are replaced whole, and a lock that another process holds.

import Glibc
import Testing

@testable import ServiceKit

@Suite struct AtomicFileTests {
    private func mode(_ path: String) -> UInt32 {
        var info = stat()
        #expect(stat(path, &info) == 0)
        return info.st_mode & 0o7777
    }

    private func inode(_ path: String) -> UInt {
        var info = stat()
        #expect(stat(path, &info) == 0)
        return UInt(info.st_ino)
    }

    @Test func createsAndReplaces() throws {
        try withFolder { folder in
            let path = "\(folder)/cluster.json"
            try AtomicFile.write(Array("one".utf8), to: path, mode: 0o640)
            #expect(try content(path) == "one")
            #expect(mode(path) == 0o640)
            let first = inode(path)
            let reader = open(path, O_RDONLY)
            try AtomicFile.write([], to: path, mode: 0o600)
            #expect(try content(path) == "")
            #expect(mode(path) == 0o600)
            #expect(inode(path) != first)
            // Who had the old file open still reads the old content.
            guard case .done(let old) = SystemCall.readUpTo(10, from: reader) else { return }
            #expect(old == Array("one".utf8))
            close(reader)
        }
    }

    @Test func aFailureLeavesTheOldFileAndNothingElse() throws {
        try withFolder { folder in
            // A folder cannot be replaced by a file.
            let path = "\(folder)/name"
            #expect(mkdir(path, 0o755) == 0)
            let error = #expect(throws: Failure.self) { try AtomicFile.write([1], to: path) }
            #expect(error == Failure(.ioError, "cannot replace the file: Is a directory", at: path))
            #expect(access("\(folder)/.name.\(getpid()).new", F_OK) == -1)
            let missing = #expect(throws: Failure.self) { try AtomicFile.write([1], to: "\(folder)/no/name") }
            #expect(missing?.what == "cannot open: No such file or directory")
        }
    }

    @Test func aWriteThatFailsLeavesTheOldFileAndNothingElse() throws {
        try withFolder { folder in
            let path = "\(folder)/name"
            try AtomicFile.write(Array("old".utf8), to: path)
            // No file of this shell's children may grow: their writes fail as on a full disk.
            var plan = ChildProcess.Plan(
                executable: "/bin/sh",
                arguments: ["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" write \"$1\"", try probePath(), path])
            plan.output = .pipe
            let child = try ChildProcess.spawn(plan)
            let found = try lines(child.output)
            #expect(found.first?.hasSuffix(".new: cannot write: File too large") == true)
            #expect(try child.wait() == .code(74))
            #expect(try content(path) == "old")
            #expect(access("\(folder)/.name.\(child.pid).new", F_OK) == -1)
        }
    }
}

@Suite struct FileLockTests {
    @Test func onlyOneProcessHoldsIt() throws {
        try withFolder { folder in
            let path = "\(folder)/lock"
            let holder = try startProbe(["lock", path])
            #expect(try lines(holder.output, count: 1) == ["acquired \(holder.pid)"])
            guard case .held(let pid) = try FileLock.attempt(path) else {
                Issue.record("two processes hold \(path)")
                return
            }
            #expect(pid == holder.pid)
            let second = try startProbe(["lock", path])
            #expect(try lines(second.output, count: 1) == ["held \(holder.pid)"])
            // The system gives the lock up with the process, and the dead holder's number is not believed.
            try holder.send(SIGKILL)
            #expect(try holder.wait() == .signal(SIGKILL))
            guard case .acquired(let lock) = try FileLock.attempt(path) else {
                Issue.record("the lock of a dead process is still held")
                return
            }
            #expect(try content(path) == "\(getpid())\n")
            #expect(lock.path == path)
            try second.send(SIGKILL)
            #expect(try second.wait() == .signal(SIGKILL))
        }
    }

    @Test func itIsFreeAfterTheObject() throws {
        try withFolder { folder in
            let path = "\(folder)/lock"
            do {
                let first = try FileLock.attempt(path)
                guard case .acquired = first, case .held(let pid) = try FileLock.attempt(path) else {
                    Issue.record("not exclusive")
                    return
                }
                #expect(pid == getpid())
                withExtendedLifetime(first) {}
            }
            guard case .acquired = try FileLock.attempt(path) else {
                Issue.record("still held")
                return
            }
        }
    }

    @Test(arguments: ["", "x\n", "12", "0\n", "2147483646\n"])
    func aHolderThatCannotBeTold(text: String) throws {
        try withFolder { folder in
            let path = "\(folder)/lock"
            let descriptor = open(path, O_RDWR | O_CREAT, 0o644)
            defer { close(descriptor) }
            #expect(flock(descriptor, LOCK_EX) == 0)
            #expect(SystemCall.writeAll(Array(text.utf8), to: descriptor) == nil)
            guard case .held(nil) = try FileLock.attempt(path) else {
                Issue.record("a holder was made up")
                return
            }
        }
    }

    @Test func aFolderThatIsMissing() throws {
        let error = #expect(throws: Failure.self) { try FileLock.attempt("/nonexistent/lock") }
        #expect(error?.sentence == "/nonexistent/lock: cannot open the lock file: No such file or directory")
        #expect(error?.code == .ioError)
    }
}
