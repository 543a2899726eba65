// Every format's good and bad lines, pinned: what is counted, and what an operator is told about the others.

import Operations
import ServiceKit
import TallyCore
import Testing

@Suite struct ImportReaderTests {
    let folder = ScratchFolder()

    /// What an import of one file hands over and says.
    struct Outcome: Equatable {
        var lines: [String] = []
        var rejections: [String] = []
        /// Of the lines, those that say nothing.
        var passedOver = 0
    }

    private func read(_ format: ImportFormat, _ bytes: [UInt8]) throws -> Outcome {
        try read(format, [folder.write(bytes, to: "in")])
    }

    private func read(_ format: ImportFormat, _ files: [String], rejects: String = "rejects") throws -> Outcome {
        var outcome = Outcome()
        let reader = ImportReader(format, onError: .skip(RejectsFile("\(folder.path)/\(rejects)"))) {
            outcome.rejections.append("\($0.line): \($0.reason)")
        }
        try reader.read(files) { key, value throws(Failure) in
            outcome.lines.append("\(String(decoding: key, as: UTF8.self))=\(value)")
        }
        #expect(reader.accepted == outcome.lines.count && reader.rejected == outcome.rejections.count)
        outcome.passedOver = reader.passedOver
        return outcome
    }

    @Test(arguments: [
        ("a\t1\n", "a=1"), ("a 1\n", "a=1"), ("a b\t-7\n", "a b=-7"), (" \t0\n", " =0"), ("é\t9\n", "é=9"),
        ("a\t9223372036854775807", "a=9223372036854775807"), ("a\t-9223372036854775808\r\n", "a=-9223372036854775808"),
        ("a\t007\n", "a=7"), ("\u{FEFF}a\t1\n", "a=1"), ("a,b;c\"\\\t1\n", "a,b;c\"\\=1"),
    ])
    func goodText(text: String, expected: String) throws {
        #expect(try read(.text, Array(text.utf8)) == Outcome(lines: [expected]))
        #expect(!folder.exists("rejects"))
    }

    @Test(arguments: [
        ("abc", "there is no TAB or space between key and value"),
        ("a b 1", "there are several spaces: put a TAB between key and value"),
        ("a  1", "there are several spaces: put a TAB between key and value"),
        ("a\t", "the value is empty"), ("a\t+1", "the value has a plus sign: leave it out"),
        ("a\t1.0", "the value is not an integer"), ("a\t1e3", "the value is not an integer"),
        ("a\t 1", "there are spaces around the value: leave them out"),
        ("a\t-", "the value is not an integer"),
        ("a\t1,234", "the value has separators between its digits: leave them out"),
        ("a\t1 234", "the value has separators between its digits: leave them out"),
        ("a\tb", "the value is not an integer"),
        ("a\t9223372036854775808", "the value is outside the range of 64 bits"),
        ("a\t-9223372036854775809", "the value is outside the range of 64 bits"),
        ("\t1", "the key is empty"), (" 1", "the key is empty"),
        ("a\tb\t1", "the key has the control byte 0x09 at offset 1"),
        ("a\u{7F}\t1", "the key has the control byte 0x7f at offset 1"),
        (String(repeating: "k", count: 513) + "\t1", "the key has 513 bytes; 512 are allowed"),
    ])
    func badText(text: String, reason: String) throws {
        let outcome = try read(.text, Array("x\t1\n\(text)\ny\t2\n".utf8))
        #expect(outcome == Outcome(lines: ["x=1", "y=2"], rejections: ["2: \(reason)"]))
        #expect(try folder.text("rejects") == text + "\n")
    }

    @Test func invalidUTF8() throws {
        let outcome = try read(.text, [0x61, 0xFF, 0x09, 0x31, 0x0A])
        #expect(outcome == Outcome(rejections: ["1: the key is not valid UTF-8"]))
        #expect(try folder.read("rejects") == [0x61, 0xFF, 0x09, 0x31, 0x0A])
    }

    @Test(arguments: [
        (#"{"key":"a","value":1}"#, "a=1"), (#"{"value":-2,"key":"a b"}"#, "a b=-2"),
        (#" { "key" : "é" , "value" : 0 } "#, "é=0"), (#"{"key":"\u00e9\"\\\/","value":3}"#, #"é"\/=3"#),
        (#"{"key":"{\"key\":","value":-0}"#, #"{"key":=0"#),
        (#"{"key":"a","value":-9223372036854775808}"#, "a=-9223372036854775808"),
        (#"{"key":"a","value":"-9223372036854775808"}"#, "a=-9223372036854775808"),
        (#"{"value":"007","key":"a"}"#, "a=7"),
    ])
    func goodJSON(text: String, expected: String) throws {
        #expect(try read(.ndjson, Array("\(text)\n".utf8)) == Outcome(lines: [expected]))
    }

    @Test(arguments: [
        ("[]", "an object was expected and an array found at byte 0"),
        (#"{"key":"a"}"#, #"the member "value" is missing"#), (#"{"value":1}"#, #"the member "key" is missing"#),
        (#"{"key":"a","value":1,"x":2}"#, #"a member is neither "key" nor "value""#),
        (#"{"key":"a","key":"b","value":1}"#, "a member comes twice"),
        (#"{"key":"a","value":1,"value":1}"#, "a member comes twice"),
        (#"{"key":"a","value":1.5}"#, "the value is not an integer"),
        (#"{"key":"a","value":"1.5"}"#, "the value is not an integer"),
        (#"{"key":"a","value":""}"#, "the value is empty"),
        (#"{"key":"a","value":"+5"}"#, "the value has a plus sign: leave it out"),
        (#"{"key":"a","value":"9223372036854775808"}"#, "the value is outside the range of 64 bits"),
        (#"{"key":"a\u0085b","value":1}"#, "the key has the control character U+0085 at offset 1"),
        (#"{"key":"a","value":01}"#, "a JSON number with a leading zero at byte 19"),
        (#"{"key":"a","value":9223372036854775808}"#, "the value is outside the range of 64 bits"),
        (#"{"key":"a","value":1}}"#, "bytes after the end of the JSON at byte 21"),
        (#"{"key":"a","value":1"#, "the JSON ends too early at byte 20"),
        (#"{"key":"","value":1}"#, "the key is empty"),
        (#"{"key":"a\tb","value":1}"#, "the key has the control byte 0x09 at offset 1"),
        (#"{"key":"\ud800","value":1}"#, "half of a surrogate pair in a JSON string at byte 8"),
    ])
    func badJSON(text: String, reason: String) throws {
        let outcome = try read(.ndjson, Array("{\"key\":\"x\",\"value\":1}\n\(text)\n".utf8))
        #expect(outcome == Outcome(lines: ["x=1"], rejections: ["2: \(reason)"]))
    }

    @Test(arguments: [
        ("key,value\r\na,1\r\n", ["a=1"]), ("a,1\nb,2", ["a=1", "b=2"]), ("\"key\",\"value\"\na,1\n", ["a=1"]),
        ("\"a,b\",1\n", ["a,b=1"]), ("\"a\"\"b\",\"-5\"\r\n", ["a\"b=-5"]), ("\u{FEFF}key,value\na b,3\n", ["a b=3"]),
        ("\"\"\"\",1\n", ["\"=1"]), ("Key,Value\na,1\n", ["a=1"]), ("\"KEY\",\"VALUE\"\na,1\n", ["a=1"]),
    ])
    func goodCSV(text: String, expected: [String]) throws {
        let outcome = try read(.csv, Array(text.utf8))
        #expect(outcome.lines == expected && outcome.rejections == [])
        #expect(outcome.passedOver == (text.lowercased().contains("value") ? 1 : 0))
    }

    @Test(arguments: [
        ("a", notTwoFields), ("a,1,2", notTwoFields), ("\"a\"", notTwoFields), ("a,\"1\",2", notTwoFields),
        ("a,", "the value is empty"), ("a,\"1,234\"", "the value has separators between its digits: leave them out"),
        ("a,+5", "the value has a plus sign: leave it out"),
        ("a,\"1\"2", "a quote stands inside a field: such a field is quoted as a whole, its quotes doubled"),
        (",1", "the key is empty"), ("\"\",1", "the key is empty"),
        ("a\"b,1", "a quote stands inside a field: such a field is quoted as a whole, its quotes doubled"),
        ("\"a\"b,1", "a quote stands inside a field: such a field is quoted as a whole, its quotes doubled"),
        ("a,\"1", "a quoted field does not end"),
        ("a, 1", "there are spaces around the value: leave them out"),
        ("key,value", "the value is not an integer"),
    ])
    func badCSV(text: String, reason: String) throws {
        let outcome = try read(.csv, Array("x,1\n\(text)\ny,2\n".utf8))
        #expect(outcome == Outcome(lines: ["x=1", "y=2"], rejections: ["2: \(reason)"]))
        #expect(try folder.text("rejects") == text + "\n")
    }

    private static let notTwoFields =
        "there are not two fields, key and value: a field with a comma in it is quoted as a whole"

    @Test func emptyLinesSayNothing() throws {
        for (format, line) in [(ImportFormat.text, "a\t1"), (.csv, "a,1"), (.ndjson, #"{"key":"a","value":1}"#)] {
            let outcome = try read(format, Array("\n\(line)\r\n\r\n\n\(line)\n\n".utf8))
            #expect(outcome == Outcome(lines: ["a=1", "a=1"], passedOver: 4), "\(format)")
        }
        #expect(!folder.exists("rejects"))
    }

    /// The second line looks like a record, but belongs to a quoted field.
    @Test func aRecordOverSeveralLinesIsOne() throws {
        let record = "\"a\nb,5\nc\",7"
        let outcome = try read(.csv, Array("x,1\n\(record)\ny,2\n".utf8))
        let reason = "the key has the control byte 0x0a at offset 1"
        #expect(outcome == Outcome(lines: ["x=1", "y=2"], rejections: ["2: \(reason)"]))
        #expect(try folder.text("rejects") == record + "\n")
        // Also to the second field, which can be none that is right.
        let second = try read(.csv, [folder.write("a,\"1\nb,5\n\"\ny,2\n", to: "second")], rejects: "second-rejects")
        #expect(second == Outcome(lines: ["y=2"], rejections: ["1: the value is not an integer"]))
        // A quote that never closes costs its own line only.
        let open = try read(.csv, [folder.write("x,1\n\"a\nb,5\n", to: "open")], rejects: "more")
        #expect(open == Outcome(lines: ["x=1", "b=5"], rejections: ["2: a quoted field does not end"]))
    }

    @Test func linesThatAreTooLong() throws {
        let long = String(repeating: "l", count: 1 << 16)
        let longer = String(repeating: "m", count: 9 << 20)
        let text = "a\t1\n\(long)\n\(long)x\nb\t2\n\(longer)\nc\t3\n\(longer)"
        let outcome = try read(.text, Array(text.utf8))
        #expect(outcome.lines == ["a=1", "b=2", "c=3"])
        #expect(
            outcome.rejections == [
                "2: there is no TAB or space between key and value", "3: the line has more than 65536 bytes",
                "5: the line has more than 65536 bytes", "7: the line has more than 65536 bytes",
            ])
        #expect(try folder.text("rejects") == "\(long)\n\(long)x\n\(longer)\n\(longer)\n")
        // Well-formed up to the cut, and still not a line.
        let padded = "{\"key\":\"a\",\"value\":1}" + String(repeating: " ", count: 1 << 16)
        let json = try read(.ndjson, [folder.write(padded, to: "padded")], rejects: "more")
        #expect(json == Outcome(rejections: ["1: the line has more than 65536 bytes"]))
    }

    @Test func stopsAtTheFirstBadLine() throws {
        let files = [folder.write("a\t1\n", to: "one"), folder.write("b\t2\nbad\nc\t3\n", to: "two")]
        var seen: [String] = []
        let failure = #expect(throws: Failure.self) {
            try ImportReader(.text, onError: .stop).read(files) { key, _ throws(Failure) in
                seen.append(String(decoding: key, as: UTF8.self))
            }
        }
        #expect(seen == ["a", "b"])
        #expect(failure?.code == .corrupt)
        #expect(failure?.sentence == "\(files[1]):2: there is no TAB or space between key and value")
        #expect(
            failure?.advice
                == "Nothing was counted. Correct it, or go on without such lines: --on-error skip keeps them in a file."
        )
    }

    @Test func missingFilesAndStreams() {
        let missing = #expect(throws: Failure.self) {
            try ImportReader(.text, onError: .stop).read(["/nowhere"]) { _, _ throws(Failure) in }
        }
        #expect(missing?.sentence == "/nowhere: cannot open: No such file or directory")
        let stream = #expect(throws: Failure.self) {
            try ImportReader(.sqlite, onError: .stop).read(["-"]) { _, _ throws(Failure) in }
        }
        #expect(stream?.code == .usage)
    }

    /// Lines of any length meet the ends of the buffer wherever they like.
    @Test func randomFilesAcrossTheBuffer() throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        print("seed \(seed)")
        var random = SplitMix64(seed: seed)
        var text = ""
        var expected: [String] = []
        while text.utf8.count < 9 << 20 {
            let key = String(repeating: "k", count: Int.random(in: 1...512, using: &random))
            let value = Int64.random(in: .min ... .max, using: &random)
            text += "\(key)\t\(value)" + (Bool.random(using: &random) ? "\n" : "\r\n")
            expected.append("\(key)=\(value)")
        }
        let outcome = try read(.text, Array(text.utf8))
        #expect(outcome.lines == expected && outcome.rejections.isEmpty, "seed \(seed)")
    }
}
