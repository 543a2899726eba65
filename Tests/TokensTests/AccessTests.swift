// Tokens in force: found by what is sent, replaced as a whole, kept when the new file is wrong.

import Glibc
import ServiceKit
import Testing

@testable import Tokens

@Suite struct AccessTests {
    private func bearer(_ view: inout AccessView, _ token: String) -> AccessView.Bearer? {
        var token = token
        return token.withUTF8 { view.bearer(of: UnsafeRawBufferPointer($0)) }
    }

    @Test func findsEveryTokenAndNoOther() throws {
        try withFolder { folder in
            let path = "\(folder)/tokens"
            let lines = (0..<1_000).map { line("n\($0)", "t\($0)", scopes: $0 % 2 == 0 ? "write" : "admin") }
            try write(lines.joined(), to: path)
            var view = AccessView(try Access(path: path))
            for index in 0..<1_000 {
                #expect(bearer(&view, "t\(index)")?.scopes == (index % 2 == 0 ? .write : .admin))
            }
            for other in ["", "t", "t1000", "T1", "t1=", "t1 ", String(repeating: "t", count: 300)] {
                #expect(bearer(&view, other) == nil)
            }
        }
    }

    @Test func aViewSeesAReload() throws {
        try withFolder { folder in
            let path = "\(folder)/tokens"
            try write(line("a", "1") + line("b", "2") + line("c", "3"), to: path)
            let access = try Access(path: path)
            var view = AccessView(access)
            #expect(access.summary.tokens == 3)
            try write(line("a", "1", scopes: "admin") + line("b", "two") + line("d", "4"), to: path)
            #expect(bearer(&view, "2") != nil, "not before it is asked for")
            let summary = try access.reload()
            #expect(summary == Access.Summary(tokens: 3, added: 1, removed: 1, changed: 2, warnings: []))
            #expect(bearer(&view, "1")?.scopes == .admin)
            #expect(bearer(&view, "2") == nil && bearer(&view, "3") == nil)
            #expect(bearer(&view, "two") != nil && bearer(&view, "4") != nil)
        }
    }

    @Test func aWrongFileChangesNothing() throws {
        try withFolder { folder in
            let path = "\(folder)/tokens"
            try write(line("a", "1"), to: path)
            let access = try Access(path: path)
            var view = AccessView(access)
            try write(line("b", "2") + "wrong\n", to: path)
            let wrong = failure { () throws(Failure) in _ = try access.reload() }
            #expect(wrong?.code == .configuration && wrong?.what.contains("\(path):2: 1 word") == true)
            unlink(path)
            #expect(
                failure { () throws(Failure) in _ = try access.reload() }?.what == "there is no such file of tokens")
            #expect(bearer(&view, "1") != nil && bearer(&view, "2") == nil)
        }
    }

    /// Somebody over his rate does not get a new burst by each reload; a new rate applies at once.
    @Test func limitsOutliveAReload() throws {
        try withFolder { folder in
            let path = "\(folder)/tokens"
            try write(line("a", "1", rate: "1/s"), to: path)
            let access = try Access(path: path)
            var view = AccessView(access)
            #expect(bearer(&view, "1")?.limiter?.admit(now: 5_000_000_000).isWithin == true)
            try write(line("a", "1", rate: "1/s") + line("b", "2"), to: path)
            _ = try access.reload()  // what it found is checked above
            #expect(bearer(&view, "1")?.limiter?.admit(now: 5_000_000_000).isWithin == false)
            try write(line("a", "1", rate: "2/s"), to: path)
            _ = try access.reload()  // as above
            #expect(bearer(&view, "1")?.limiter?.admit(now: 5_000_000_000).quota == Quota(limit: 2, remaining: 1))
            try write(line("a", "1"), to: path)
            _ = try access.reload()  // as above
            #expect(bearer(&view, "1").map { $0.limiter == nil } == true)
        }
    }

    @Test func permissionsAndAnEmptyFile() throws {
        try withFolder { folder in
            let path = "\(folder)/tokens"
            try write("", to: path, mode: 0o644)
            let access = try Access(path: path)
            #expect(
                access.summary.warnings == [
                    "there is no token in it, so nobody may count",
                    "everybody may read its names and digests: chmod o-r \(path)",
                ])
            try write(line("a", "1"), to: path, mode: 0o646)
            #expect(
                failure { () throws(Failure) in _ = try access.reload() }?.report == """
                    tallymill: \(path): everybody may write this file, and so admit himself
                      Run `chmod o-w \(path)`, and look at its lines.
                    """)
        }
    }
}
