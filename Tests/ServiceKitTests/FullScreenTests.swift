// A program's hold on a terminal, which is a real pseudo-terminal: what it writes, what it reads, and that everything
// is as before at the end.

import Glibc
import Testing

@testable import ServiceKit

@Suite struct FullScreenTests {
    /// Both ends of a pseudo-terminal.
    private final class Pair {
        let leader: Int32
        let follower: Int32

        init() throws {
            leader = open("/dev/ptmx", O_RDWR | O_NOCTTY)
            try #require(leader >= 0)
            // TIOCSPTLCK and TIOCGPTN: what unlockpt and ptsname do, which Swift does not import.
            var number: Int32 = 0
            #expect(ioctl(leader, 0x4004_5431, &number) == 0)
            #expect(ioctl(leader, 0x8004_5430, &number) == 0)
            follower = open("/dev/pts/\(number)", O_RDWR | O_NOCTTY)
            try #require(follower >= 0)
        }

        deinit {
            close(leader)
            close(follower)
        }

        var mode: termios {
            var mode = termios()
            #expect(tcgetattr(follower, &mode) == 0)
            return mode
        }

        func read(_ count: Int) -> String {
            guard case .done(let bytes) = SystemCall.readUpTo(count, from: leader) else { return "" }
            return String(decoding: bytes, as: UTF8.self)
        }
    }

    @Test func everythingIsPutBack() throws {
        let pair = try Pair()
        let before = pair.mode
        let screen = try FullScreen(input: pair.follower, output: pair.follower)
        #expect(pair.mode.c_lflag & tcflag_t(ECHO | ICANON | ISIG) == 0)
        #expect(screen.size == FullScreen.Size(width: 80, height: 24))
        var size = winsize(ws_row: 10, ws_col: 40, ws_xpixel: 0, ws_ypixel: 0)
        #expect(ioctl(pair.leader, UInt(TIOCSWINSZ), &size) == 0)
        #expect(screen.size == FullScreen.Size(width: 40, height: 10))
        screen.show(["a", "bc"])
        screen.leave()
        screen.leave()
        let expected =
            "\u{1B}[?1049h\u{1B}[?25l" + "\u{1B}[Ha\u{1B}[K\r\nbc\u{1B}[K\u{1B}[J" + "\u{1B}[0m\u{1B}[?25h\u{1B}[?1049l"
        #expect(pair.read(expected.utf8.count) == expected)
        #expect(pair.mode.c_lflag == before.c_lflag && pair.mode.c_oflag == before.c_oflag)
        #expect(pair.mode.c_iflag == before.c_iflag)
    }

    @Test func keysArrive() throws {
        let pair = try Pair()
        let screen = try FullScreen(input: pair.follower, output: pair.follower)
        let sent = Array("q\u{3}".utf8)
        #expect(SystemCall.writeAll(sent, to: pair.leader) == nil)
        var keys: [PressedKey] = []
        while keys.count < 2 { keys += screen.keys() }
        #expect(keys == [.character("q"), .interrupt])
    }

    @Test func whatIsNoTerminal() throws {
        var ends: [Int32] = [-1, -1]
        #expect(pipe(&ends) == 0)
        defer { for end in ends { close(end) } }
        do throws(Failure) {
            _ = try FullScreen(input: ends[0], output: ends[1])
            Issue.record("a pipe is no terminal")
        } catch {
            #expect(error.code == .ioError)
            #expect(error.what == "cannot read the terminal's mode: Inappropriate ioctl for device")
        }
    }

    @Test func sequences() {
        func keys(_ text: String) -> [PressedKey] { PressedKey.parse(Array(text.utf8)[...]) }
        #expect(keys("\u{1B}[A\u{1B}[B\u{1B}OA\u{1B}OB") == [.up, .down, .up, .down])
        #expect(
            keys("\u{1B}[5~\u{1B}[6~\u{1B}[H\u{1B}[F\u{1B}[1~\u{1B}[4~") == [
                .pageUp, .pageDown, .home, .end, .home, .end,
            ])
        // Others are left out, whole: no part of them is taken for a letter.
        #expect(keys("\u{1B}[1;5Cq\u{1B}[200~s") == [.character("q"), .character("s")])
        #expect(keys("\u{1B}") == [] && keys("\u{1B}[") == [] && keys("é\r") == [])
    }
}

@Suite struct LatestValueTests {
    @Test func onlyTheNewestCounts() throws {
        let value = try LatestValue<Int>()
        #expect(value.take() == nil)
        #expect(SystemCall.isReadable(value.descriptor) == false)
        value.send(1)
        value.send(2)
        #expect(SystemCall.isReadable(value.descriptor) == true)
        #expect(value.take() == 2)
        #expect(value.take() == nil)
        #expect(SystemCall.isReadable(value.descriptor) == false)
    }
}

extension SystemCall {
    /// At once.
    fileprivate static func isReadable(_ descriptor: Int32) -> Bool? {
        if case .done(let isReady) = waitReadable(descriptor, timeoutMilliseconds: 0) { isReady } else { nil }
    }
}
