// One grammar at both doors: what is posted as text and what is imported as text is counted alike or refused alike,
// with the same words. The lines are what people have: of this product's export, `uniq -c`, pageviews, Graphite,
// `du -b`, editors.

import ServiceKit
import TallyCore
import Testing

@testable import HTTPFront
@testable import Operations

struct DoorCase: Sendable, CustomStringConvertible {
    let text: String
    /// What is counted, as `key=value`; empty if the text is refused.
    var counted: [String] = []
    /// The line at which it is refused, and the reason.
    var refusal: String?

    static func counts(_ text: String, _ counted: String...) -> DoorCase { DoorCase(text: text, counted: counted) }

    static func refused(_ text: String, _ refusal: String) -> DoorCase { DoorCase(text: text, refusal: refusal) }

    var description: String { text.debugDescription }
}

private let numberFirst =
    "it begins with a number, as `uniq -c` writes it: put the key first, then a TAB and the number"
private let severalSpaces = "there are several spaces: put a TAB between key and value"

private let texts: [DoorCase] = [
    .counts("a 1\n", "a=1"), .counts("a\t1\n", "a=1"), .counts("a\t-7\r\n", "a=-7"), .counts("a 007", "a=7"),
    // As `export --format text` writes: whatever the key.
    .counts("a b\t1\n", "a b=1"), .counts(" \t0\n", " =0"), .counts("a  \t3\n", "a  =3"),
    .counts("1234567\t200\n", "1234567=200"),
    .counts("     12 /home\t3\n", "     12 /home=3"), .counts("a.b 42\t1795823579\n", "a.b 42=1795823579"),
    // Empty lines, line ends, a byte order mark, a last line without an end.
    .counts("a 1\n\n", "a=1"), .counts("\n\r\na 1\r\n\r\nb 2\r\n", "a=1", "b=2"), .counts("\u{FEFF}a 1\n", "a=1"),
    .counts("a 1\nb 2", "a=1", "b=2"), .counts("a 1\r", "a=1"), .counts("\n", []),
    // uniq -c: the count first, right-aligned in 7, from a million on with nothing in front.
    .refused("      3 /home\n", "1: \(numberFirst)"), .refused(" 999999 /home\n", "1: \(numberFirst)"),
    .refused("1234567 /home\n", "1: \(numberFirst)"), .refused("1234567 200\n", "1: \(numberFirst)"),
    .refused("    200 404\n", "1: \(numberFirst)"), .refused("1234567 two words 5\n", "1: \(numberFirst)"),
    .refused("-5 7\n", "1: \(numberFirst)"),
    // pageviews: domain, title, count, size.
    .refused("en Main_Page 42 0\n", "1: \(severalSpaces)"), .refused("en.m - 7 50043\n", "1: \(severalSpaces)"),
    // Graphite: name, value, time.
    .refused("a 1\nservers.a.count 42 1795823579\n", "2: \(severalSpaces)"),
    .refused("servers.a.load 0.5 1795823579\n", "1: \(severalSpaces)"),
    // du -b
    .refused("4096\t./folder\n", "1: the value is not an integer"),
    .refused("a  1\n", "1: \(severalSpaces)"), .refused("a 1 \n", "1: \(severalSpaces)"),
    .refused("a b 1\n", "1: \(severalSpaces)"),
    .refused("a\tb\t1\n", "1: the key has the control byte 0x09 at offset 1"),
    .refused("a\t1 2\n", "1: the value has separators between its digits: leave them out"),
    .refused("a\t 1\n", "1: there are spaces around the value: leave them out"),
    .refused("a\t1 \n", "1: there are spaces around the value: leave them out"),
    .refused("a\tb 1\n", "1: the value is not an integer"),
    .refused("a\n", "1: there is no TAB or space between key and value"),
    .refused("a \n", "1: the value is empty"), .refused("a\t\n", "1: the value is empty"),
    .refused("\t1\n", "1: the key is empty"), .refused(" 1\n", "1: the key is empty"),
    .refused("a +5\n", "1: the value has a plus sign: leave it out"),
    .refused("a 1.5\n", "1: the value is not an integer"),
    .refused("a 1,234\n", "1: the value has separators between its digits: leave them out"),
    .refused("a 9223372036854775808\n", "1: the value is outside the range of 64 bits"),
    .refused("x 1\n\na\u{85}b 1\n", "3: the key has the control character U+0085 at offset 1"),
]

extension DoorCase {
    fileprivate static func counts(_ text: String, _ counted: [String]) -> DoorCase {
        DoorCase(text: text, counted: counted)
    }
}

@Suite struct TextDoorsTests {
    private let folder = ScratchFolder()

    @Test(arguments: texts)
    func posted(_ text: DoorCase) throws {
        var head = RequestHead()
        head.method = .post
        head.route = .increments
        head.mediaType = .text
        head.contentLength = text.text.utf8.count
        var reader = IncrementReader(limits: HTTPLimits())
        var increments = IncrementBuffer()
        var refusal: String?
        Array(text.text.utf8).withUnsafeBytes { body in
            do throws(Problem) {
                _ = try reader.read(head, query: nil, body: body, into: &increments)
            } catch {
                refusal = error.detail
            }
        }
        #expect(refusal == text.refusal.map { "line \($0)" })
        // A request counts as a whole or not at all: what is staged before the refusal is dropped.
        if refusal != nil { increments.removeAll() }
        #expect(
            increments.items.map { "\(String(decoding: increments.key(of: $0), as: UTF8.self))=\($0.delta)" }
                == text.counted)
    }

    @Test(arguments: texts)
    func imported(_ text: DoorCase) throws {
        let file = folder.write(text.text, to: "in")
        var counted: [String] = []
        var refusal: String?
        do throws(Failure) {
            try ImportReader(.text, onError: .stop).read([file]) { key, value throws(Failure) in
                counted.append("\(String(decoding: key, as: UTF8.self))=\(value)")
            }
        } catch {
            refusal = String(error.sentence.dropFirst("\(file):".count))
            counted = []
        }
        #expect(refusal == text.refusal)
        #expect(counted == text.counted)
    }

    /// Each key that a counter can have comes back through either door as it was exported.
    @Test(arguments: [false, true])
    func whatIsExportedIsReadAtBothDoors(isReversed: Bool) throws {
        var keys = [
            "a", " ", "  a b ", "12", "-3", "12 34", "      7 x", "a 1", "é", "\u{FEFF}b", "a,\"b\"", "a\\", "\u{FEFF}",
        ]
        // So that a mark begins the text.
        if isReversed { keys.reverse() }
        let output = try FileOutput("\(folder.path)/export", .refuse)
        let writer = LineWriter(.text, output)
        try writer.begin()
        for (index, key) in keys.enumerated() {
            try Array(key.utf8).withUnsafeBytes { try writer.write($0, Int64(index) - 5) }
        }
        try writer.end()
        let text = try folder.text("export")
        let counted = keys.enumerated().map { "\($1)=\($0 - 5)" }
        try posted(DoorCase(text: text, counted: counted))
        try imported(DoorCase(text: text, counted: counted))
    }
}
