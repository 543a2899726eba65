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

/// Each with what is counted; nothing is if the text is refused.
private let json: [DoorCase] = [
    .counts(#"{"key":"a","value":1}"#, "a=1"), .counts("\u{FEFF}{\"key\":\"a\",\"value\":1}\n\n", "a=1"),
    .counts(#" {"value" : "007" , "k\u0065y" : "\ud83d\ude00\""} "# + "\r\n", "😀\"=7"),
    .counts("\r\n{\"key\":\" \",\"value\":-0}\n\n{\"key\":\"b\",\"value\":\"-5\"}", " =0", "b=-5"),
    .counts(#"{"key":"a","value":1}{"#, []), .counts(#"{"key":"a","value":01}"#, []),
    .counts(#"{"key":"a","value":1.0}"#, []), .counts(#"{"key":"a","value":"+1"}"#, []),
    .counts(#"{"key":"a","value":+1}"#, []), .counts(#"{"key":"a","value":1e3}"#, []),
    .counts(#"{"key":"a","value":1,"value":1}"#, []), .counts(#"{"key":"a","value":1,"x":1}"#, []),
    .counts(#"{"key":"a"}"#, []), .counts(#"{"key":"","value":1}"#, []), .counts(#"{"a":1}"#, []),
    .counts(#"{"key":"a\tb","value":1}"#, []), .counts("{\"key\":\"a\tb\",\"value\":1}", []), .counts(" \n", []),
    .counts(#"[{"key":"a","value":1}]"#, []), .counts("{\"key\":\"a\",\n\"value\":1}", []),
]

@Suite struct TextDoorsTests {
    private let folder = ScratchFolder()

    /// What came of a text at a door.
    private struct Outcome: Equatable {
        var counted: [String] = []
        var refusal: String?
    }

    private func post(_ text: String, as mediaType: MediaType) -> Outcome {
        var head = RequestHead()
        head.method = .post
        head.route = .increments
        head.mediaType = mediaType
        head.contentLength = text.utf8.count
        var reader = IncrementReader(limits: HTTPLimits())
        var increments = IncrementBuffer()
        var outcome = Outcome()
        Array(text.utf8).withUnsafeBytes { body in
            do throws(Problem) {
                _ = try reader.read(head, query: nil, body: body, into: &increments)
            } catch {
                outcome.refusal = error.detail
            }
        }
        // A request counts as a whole or not at all: what is staged before the refusal is dropped.
        if outcome.refusal == nil {
            outcome.counted = increments.items.map {
                "\(String(decoding: increments.key(of: $0), as: UTF8.self))=\($0.delta)"
            }
        }
        return outcome
    }

    private func load(_ text: String, as format: ImportFormat) -> Outcome {
        let file = folder.write(text, to: "in")
        var outcome = Outcome()
        do throws(Failure) {
            try ImportReader(format, onError: .stop).read([file]) { key, value throws(Failure) in
                outcome.counted.append("\(String(decoding: key, as: UTF8.self))=\(value)")
            }
        } catch {
            outcome = Outcome(refusal: String(error.sentence.dropFirst("\(file):".count)))
        }
        return outcome
    }

    @Test(arguments: texts)
    func posted(_ text: DoorCase) {
        let expected = Outcome(counted: text.counted, refusal: text.refusal.map { "line \($0)" })
        #expect(post(text.text, as: .text) == expected)
    }

    @Test(arguments: texts)
    func imported(_ text: DoorCase) {
        #expect(load(text.text, as: .text) == Outcome(counted: text.counted, refusal: text.refusal))
    }

    /// Its words differ: a client is told of fields and indexes, an operator of members.
    @Test(arguments: json)
    func linesOfJSON(_ text: DoorCase) {
        for outcome in [post(text.text, as: .ndjson), load(text.text, as: .ndjson)] {
            #expect(outcome.counted == text.counted)
            #expect((outcome.refusal != nil) == text.counted.isEmpty)
        }
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
        posted(DoorCase(text: text, counted: counted))
        imported(DoorCase(text: text, counted: counted))
    }
}
