// Every kind of value: what is taken, what is refused, at the bounds and one past them.

import Testing

@testable import ServiceKit

@Suite struct SettingKindTests {
    private func accepts(_ kind: SettingKind, _ values: [(String, SettingValue)]) {
        for (text, value) in values { #expect(kind.parse(text) == value, "\(text)") }
    }

    private func refuses(_ kind: SettingKind, _ texts: [String]) {
        for text in texts { #expect(kind.parse(text) == nil, "\(text)") }
    }

    @Test func integers() {
        let kind = SettingKind.integer(1...1024)
        accepts(kind, [("1", .integer(1)), ("1024", .integer(1024))])
        refuses(
            kind, ["", "0", "1025", "-1", "+1", "01", "1.0", "1e2", " 1", "1 ", "１", "1_0", "99999999999999999999"])
        #expect(kind.permitted == "a whole number from 1 to 1024")
        accepts(.integer(0...5), [("0", .integer(0))])
    }

    @Test func byteSizes() {
        let kind = SettingKind.bytes(1 << 20...1 << 40)
        accepts(
            kind,
            [
                ("1048576", .bytes(1 << 20)), ("1MiB", .bytes(1 << 20)), ("1024KiB", .bytes(1 << 20)),
                ("1024GiB", .bytes(1 << 40)), ("256MiB", .bytes(256 << 20)), ("1048577", .bytes(1_048_577)),
            ])
        refuses(
            kind,
            [
                "1048575", "1023KiB", "1025GiB", "1099511627777", "1MB", "1M", "1mib", "1 MiB", "MiB", "1.5MiB",
                "-1MiB",
                "9999999999999GiB", "1TiB", "1MiBMiB",
            ])
        #expect(kind.permitted == "a number of bytes from 1MiB to 1024GiB, plain or with KiB, MiB or GiB")
    }

    @Test func durations() {
        let kind = SettingKind.duration(1_000...86_400_000)
        accepts(
            kind,
            [
                ("1s", .duration(1_000)), ("1000ms", .duration(1_000)), ("5m", .duration(300_000)),
                ("2h", .duration(7_200_000)), ("1d", .duration(86_400_000)), ("24h", .duration(86_400_000)),
            ])
        refuses(kind, ["1", "999ms", "86400001ms", "2d", "1w", "s", "1 s", "1S", "0s", "1m30s", "99999999999999d"])
        #expect(kind.permitted == "a time from 1s to 1d, with ms, s, m, h or d")
        #expect(SettingKind.durationText(1_500) == "1500ms")
    }

    @Test func namesChoicesFlags() {
        accepts(.name(maximumBytes: 4), [("aZ0.", .text("aZ0.")), ("-_-", .text("-_-"))])
        refuses(.name(maximumBytes: 4), ["", "abcde", "a:b", "a b", "{a}", "é"])
        #expect(SettingKind.name(maximumBytes: 4).permitted == "1 to 4 letters, digits, '.', '_' or '-'")
        accepts(.choice(["a", "b"]), [("a", .text("a"))])
        refuses(.choice(["a", "b"]), ["A", "c", ""])
        #expect(SettingKind.choice(["a", "b"]).permitted == "one of a, b")
        accepts(.flag, [("true", .flag(true)), ("false", .flag(false))])
        refuses(.flag, ["yes", "1", "True", "", "on"])
        #expect(SettingKind.flag.permitted == "true or false")
    }

    @Test func pathsAndURLs() {
        let longest = String(repeating: "p", count: 4095)
        accepts(.path, [("/a b/ü", .text("/a b/ü")), (longest, .text(longest))])
        refuses(.path, ["", longest + "p", "a\nb", "a\u{7F}", " a", "a "])
        #expect(SettingKind.path.permitted == "a path of 1 to 4095 bytes without control characters")
        let url = SettingKind.url(schemes: ["redis", "unix"])
        accepts(url, [("redis://h:1/0", .text("redis://h:1/0")), ("unix:///run/r.sock", .text("unix:///run/r.sock"))])
        refuses(url, ["redis://", "rediss://h", "redis:/h", "h:1", "http://h", "redis://a b"])
        #expect(url.permitted == "a URL that begins with redis:// or unix://")
    }

    @Test func endpoints() {
        accepts(
            .endpoint,
            [
                ("127.0.0.1:3333", .endpoint(.init(host: "127.0.0.1", port: 3333))),
                ("localhost:0", .endpoint(.init(host: "localhost", port: 0))),
                ("a-b.example:80", .endpoint(.init(host: "a-b.example", port: 80))),
                ("[::]:65535", .endpoint(.init(host: "::", port: 65535))),
                ("[::1]:3333", .endpoint(.init(host: "::1", port: 3333))),
                ("[::1]:65535", .endpoint(.init(host: "::1", port: 65535))),
                ("[fe80::1%eth0]:1", .endpoint(.init(host: "fe80::1%eth0", port: 1))),
            ])
        refuses(
            .endpoint,
            [
                "127.0.0.1", "127.0.0.1:", ":3333", "h:65536", "h:-1", "h:01", "h:+1", "h:", "3333", "", "[::1:3333",
                "[h]:3333", "::1:3333", "[]:1", "[host]:1", "[::1]",
                "h h:1", "http://h:1", "[::1:1", String(repeating: "h", count: 254) + ":1",
            ])
        #expect("\(Endpoint(host: "::1", port: 1))" == "[::1]:1")
        #expect("\(Endpoint(host: "h", port: 1))" == "h:1")
        #expect(
            SettingKind.endpoint.permitted
                == "HOST:PORT with a port from 0 to 65535, such as 127.0.0.1:3333 or [::1]:3333")
    }

    @Test func nearestNames() {
        #expect(NearestName.of("outbox-byte", among: ["queue-bytes", "outbox-bytes"]) == "outbox-bytes")
        #expect(NearestName.of("zzzzzz", among: ["queue-bytes", "outbox-bytes"]) == nil)
        #expect(NearestName.of("a", among: []) == nil)
        #expect(NearestName.distance("kitten", "sitting") == 3)
        #expect(NearestName.distance("", "abc") == 3)
        #expect(NearestName.distance("abc", "") == 3)
        #expect(NearestName.distance("wbe", "web") == 1)
        #expect(NearestName.distance("stauts", "status") == 1)
        #expect(NearestName.distance("ab", "ba") == 1)
        #expect(NearestName.distance("abc", "cab") == 2)
        #expect(NearestName.distance("same", "same") == 0)
    }
}
