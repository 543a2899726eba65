// Numbers, tables and progress as people see them; the terminal is a real pseudo-terminal.

import Glibc
import Testing

@testable import ServiceKit

@Suite struct HumanizedTests {
    @Test func counts() {
        #expect([0, 999, 1_000].map { Humanized.count($0) } == ["0", "999", "1,000"])
        #expect([1_234_567, -1_234].map { Humanized.count($0) } == ["1,234,567", "-1,234"])
        #expect(Humanized.count(Int.min) == "-9,223,372,036,854,775,808")
        #expect(Humanized.count(Int128.max) == "170,141,183,460,469,231,731,687,303,715,884,105,727")
    }

    @Test func sizes() {
        #expect([0, 1023, 1024, 1_258_291].map(Humanized.bytes) == ["0 B", "1023 B", "1.0 KiB", "1.2 MiB"])
        #expect(Humanized.bytes((1 << 20) - 1) == "1.0 MiB")
        #expect(Humanized.bytes(.max) == "8.0 EiB")
        #expect(Humanized.bytes(-2048) == "-2.0 KiB")
    }

    @Test func quantities() {
        #expect([0, 999.4, 999.5, 1_234, 999_960].map(Humanized.quantity) == ["0", "999", "1.0 k", "1.2 k", "1.0 M"])
    }

    @Test(arguments: [
        (0, "0 ms"), (999, "999 ms"), (1_000, "1.0 s"), (3_449, "3.4 s"), (59_949, "59.9 s"), (59_950, "1 m 00 s"),
        (125_000, "2 m 05 s"), (3_599_499, "59 m 59 s"), (3_599_500, "1 h 00 m"), (11_220_000, "3 h 07 m"),
        (86_400_000, "1 d 00 h"), (352_800_000, "4 d 02 h"), (-3_400, "-3.4 s"), (-125_000, "-2 m 05 s"),
    ])
    func durations(milliseconds: Int, text: String) {
        #expect(Humanized.duration(milliseconds: milliseconds) == text)
    }
}

@Suite struct TextTableTests {
    @Test func columnsAreAligned() {
        var table = TextTable([.left("key"), .right("value"), .left("note")])
        table.add(["a", "1", ""])
        table.add(["long key", "1,234", "é"])
        table.add(["", "", "x"])
        #expect(
            table.text == """
                key       value  note
                a             1
                long key  1,234  é
                                 x

                """)
        var single = TextTable([.right("n")])
        single.add([""])
        #expect(single.text == "n\n\n")
    }
}

@Suite struct ProgressTests {
    @Test func whatItSays() {
        let progress = Progress("importing", total: 4_000_000, now: 1_000)
        #expect(progress.text(done: 0, now: 1_000) == "importing: 0 of 4,000,000 (0%)")
        #expect(
            progress.text(done: 1_000_000, now: 3_000)
                == "importing: 1,000,000 of 4,000,000 (25%), 500.0 k/s, 6.0 s left")
        #expect(
            progress.text(done: 4_000_000, now: 9_000) == "importing: 4,000,000 of 4,000,000 (100%), 500.0 k/s")
        #expect(Progress("reading", total: nil, now: 0).text(done: 10, now: 1_000) == "reading: 10, 10/s")
    }

    @Test func howOftenAndHowLong() {
        var progress = Progress("importing", total: nil, now: 0)
        #expect(progress.line(done: 1, now: 50, width: nil) == "importing: 1, 20/s")
        #expect(progress.line(done: 2, now: 149, width: nil) == nil)
        #expect(progress.line(done: 2, now: 150, width: 10) == "importing")
    }

    @Test func onATerminalAndNowhereElse() throws {
        let leader = open("/dev/ptmx", O_RDWR | O_NOCTTY)
        try #require(leader >= 0)
        defer { close(leader) }
        // TIOCSPTLCK and TIOCGPTN: what unlockpt and ptsname do, which Swift does not import.
        var number: Int32 = 0
        #expect(ioctl(leader, 0x4004_5431, &number) == 0)
        #expect(ioctl(leader, 0x8004_5430, &number) == 0)
        let follower = open("/dev/pts/\(number)", O_RDWR | O_NOCTTY)
        try #require(follower >= 0)
        defer { close(follower) }
        let terminal = Terminal(follower)
        #expect(terminal.isTerminal)
        #expect(terminal.width == nil)
        var size = winsize(ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0)
        #expect(ioctl(follower, UInt(TIOCSWINSZ), &size) == 0)
        #expect(terminal.width == 100)
        let shown = ProgressLine("x", total: nil, terminal: terminal)
        shown.update(done: 0)
        shown.clear()
        shown.clear()
        guard case .done(let bytes) = SystemCall.readUpTo(12, from: leader) else { return }
        #expect(String(decoding: bytes, as: UTF8.self) == "\r\u{1B}[Kx: 0\r\u{1B}[K")

        var ends: [Int32] = [-1, -1]
        #expect(pipe(&ends) == 0)
        let plain = Terminal(ends[1])
        #expect(!plain.isTerminal && plain.width == nil && !plain.allowsColour)
        let hidden = ProgressLine("x", total: nil, terminal: plain)
        hidden.update(done: 1)
        hidden.clear()
        close(ends[1])
        guard case .done(let nothing) = SystemCall.readUpTo(10, from: ends[0]) else { return }
        #expect(nothing.isEmpty)
        close(ends[0])
    }
}

@Suite struct TerminalTextTests {
    @Test(arguments: [
        ("page:/home", "page:/home"), ("café 慢 🦀 \u{A0}“x”", "café 慢 🦀 \u{A0}“x”"), ("", ""),
        ("a\u{1B}[2Jb", #"a\u001b[2Jb"#), ("a\u{9B}2J\u{7F}", #"a\u009b2J\u007f"#),
        ("\r\n\t", #"\u000d\u000a\u0009"#), ("\u{80}\u{9F}", #"\u0080\u009f"#),
        ("\u{202E}txt\u{2066}\u{2069}\u{2028}", #"\u202etxt\u2066\u2069\u2028"#), ("שלום\u{200F}", "שלום\u{200F}"),
    ])
    func whatATerminalObeysIsEscaped(text: String, shown: String) {
        #expect(TerminalText.shown(text) == shown)
    }

    @Test func linesStayWhereTheyAreMeant() {
        #expect(TerminalText.shown("a\tb\u{9B}\r\n", keepsLines: true) == "a\tb\\u009b\r\n")
        #expect(TerminalText.shown([0x61, 0x9B, 0x0A]) == Array("a\u{FFFD}\n".utf8), "8 bits a character")
    }

    @Test func tablesShowCells() {
        var table = TextTable([.left("NAME"), .right("N")])
        table.add(["a\u{85}\nb", "1"])
        #expect(table.text == "NAME            N\na\\u0085\\u000ab  1\n")
    }

    /// What `export` writes is a file of keys as they are, but for a terminal.
    @Test func outputIsEscapedForATerminalAlone() throws {
        let leader = open("/dev/ptmx", O_RDWR | O_NOCTTY)
        try #require(leader >= 0)
        defer { close(leader) }
        var number: Int32 = 0
        #expect(ioctl(leader, 0x4004_5431, &number) == 0)
        #expect(ioctl(leader, 0x8004_5430, &number) == 0)
        let line = Array("a\u{9B}2J\t1\n".utf8)
        let output = try FileOutput("/dev/pts/\(number)", .replace)
        try line.withUnsafeBytes { try output.write($0) }
        #expect(output.bytes == line.count)
        guard case .done(let shown) = SystemCall.readUpTo(13, from: leader) else { return }
        #expect(String(decoding: shown, as: UTF8.self) == "a\\u009b2J\t1\r\n")

        try withFolder { folder in
            let file = try FileOutput("\(folder)/plain", .refuse)
            try line.withUnsafeBytes { try file.write($0) }
            #expect(try FileContent.readIfPresent("\(folder)/plain", maximumBytes: 100) == line)
        }
    }
}
