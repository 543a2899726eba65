// A lock file is its owner's alone: whoever can read a file can lock it.

import Glibc
import Testing

@testable import ServiceKit

@Suite struct LockFileTests {
    private func mode(_ path: String) -> mode_t {
        var status = stat()
        return stat(path, &status) == 0 ? status.st_mode & 0o777 : 0
    }

    @Test func newOnesAndThoseOfEarlierReleasesAreClosed() throws {
        try withFolder { folder throws in
            for (name, earlier) in [("new", nil), ("read", 0o644), ("written", 0o666)] as [(String, mode_t?)] {
                let path = "\(folder)/\(name)"
                if let earlier {
                    try AtomicFile.write([], to: path)
                    #expect(chmod(path, earlier) == 0)
                }
                guard case .acquired(let lock) = try FileLock.attempt(path) else {
                    Issue.record("\(path) is held")
                    return
                }
                #expect(mode(path) == 0o600)
                withExtendedLifetime(lock) {}
            }
            try FileLock.prepare("\(folder)/for-flock")
            #expect(mode("\(folder)/for-flock") == 0o600)
        }
    }

    /// Members of the group cannot open the file, and ask the system who holds it.
    @Test func theSystemTellsTheHolder() throws {
        try withFolder { folder throws in
            let path = "\(folder)/lock"
            guard case .acquired(let lock) = try FileLock.attempt(path) else {
                Issue.record("\(path) is held")
                return
            }
            #expect(SystemLocks.holder(of: path) == getpid())
            withExtendedLifetime(lock) {}
        }
    }

    @Test func linesOfTheSystem() {
        let text = Array(
            """
            1: POSIX  ADVISORY  READ  4 fe:01:7 128 128
            2: FLOCK  ADVISORY  WRITE 5 fe:01:7 0 EOF
            2: -> FLOCK  ADVISORY  WRITE 6 fe:01:8 0 EOF
            3: FLOCK  ADVISORY  WRITE -1 fe:01:9 0 EOF

            """.utf8)
        #expect(SystemLocks.holder(of: "fe:01:7", in: text) == 5)
        for other in ["fe:01:8", "fe:01:9", "fe:01:70", ""] { #expect(SystemLocks.holder(of: other, in: text) == nil) }
        #expect(SystemLocks.name(device: 0xFE01, file: 7) == "fe:01:7")
        #expect(SystemLocks.name(device: 0x10_3_05, file: 7) == "103:05:7")
    }
}
