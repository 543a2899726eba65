// A path is a path: whatever the system takes, SQLite is made to take, and says so where it cannot.

import Glibc
import Testing

@testable import ShardStore

@Suite struct SQLitePathTests {
    /// Opens and closes a file of numbers that `NumbersWriter` has made by the plain path.
    private func holdsOneRow(_ path: String) throws -> Bool {
        let reader = try NumbersReader(at: path)
        return try reader.next()
    }

    /// The writer keeps its lock as long as it lives.
    private func makeOneRow(_ path: String) throws {
        let writer = try NumbersWriter(creating: path)
        try Array("a".utf8).withUnsafeBytes { try writer.append(key: $0, value: 1) }
        try writer.finish()
    }

    @Test(arguments: [
        "plain", "with blanks and\ttab", "a?b", "a#b", "100%", "%41", "file:x", ":memory:", "é", "a&b=c", "-wal",
        "back\\slash", "quote'\"",
    ])
    func names(name: String) throws {
        let folder = Folder()
        let made = "\(folder.path)/made"
        try makeOneRow(made)
        let path = "\(folder.path)/\(name)"
        try #require(rename(made, path) == 0)
        for same in [path, "/" + path, "///" + path, "\(folder.path)//\(name)", "\(folder.path)/./\(name)"] {
            #expect(try holdsOneRow(same), "\(same)")
        }
        // From where we are, up to the root and down again.
        var up = ""
        let here = try #require(getcwd(nil, 0))
        defer { free(here) }
        for _ in String(cString: here).split(separator: "/") { up += "../" }
        #expect(try holdsOneRow(up + path.dropFirst()))
    }

    @Test func aPathThatIsTooLongForSQLite() throws {
        let folder = Folder()
        var deep = folder.path
        while deep.utf8.count <= 400 {
            deep += "/" + String(repeating: "d", count: 100)
            try #require(mkdir(deep, 0o755) == 0)
        }
        func make(_ bytes: Int) throws -> String {
            let path = deep + "/" + String(repeating: "f", count: bytes - deep.utf8.count - 1)
            try makeOneRow("\(folder.path)/made")
            try #require(rename("\(folder.path)/made", path) == 0)
            return path
        }
        #expect(try holdsOneRow(make(SystemFile.pathBytesMax)))
        let long = try make(SystemFile.pathBytesMax + 1)
        let error = #expect(throws: StoreError.self) { try holdsOneRow(long) }
        #expect(error?.cause == "its path from the root has 505 bytes, and SQLite takes 504")
    }
}
