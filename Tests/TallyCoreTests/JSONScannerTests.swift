// What the scanner reads and what it refuses, with the offset and the text of each refusal.

import Testing

@testable import TallyCore

@Suite struct JSONScannerTests {
    /// Runs `body` over the bytes of `text`.
    private func scan<Value>(
        _ bytes: [UInt8], _ body: (inout JSONScanner) throws(JSONError) -> Value
    ) -> Result<Value, JSONError> {
        bytes.withUnsafeBytes { raw in
            var scanner = JSONScanner(raw)
            do throws(JSONError) {
                let value = try body(&scanner)
                try scanner.finish()
                return .success(value)
            } catch { return .failure(error) }
        }
    }

    private func string(_ text: String) -> Result<[UInt8], JSONError> { string(Array(text.utf8)) }

    private func string(_ bytes: [UInt8]) -> Result<[UInt8], JSONError> {
        scan(bytes) { (scanner) throws(JSONError) in
            var scratch: [UInt8] = [1, 2, 3]
            try scanner.string(into: &scratch)
            return scratch
        }
    }

    private func integer(_ text: String) -> Result<Int64, JSONError> {
        scan(Array(text.utf8)) { (scanner) throws(JSONError) in try scanner.integer() }
    }

    private func skip(_ text: String) -> Result<Bool, JSONError> {
        scan(Array(text.utf8)) { (scanner) throws(JSONError) in
            try scanner.skip()
            return true
        }
    }

    private func failure<Value>(_ result: Result<Value, JSONError>) -> String {
        switch result {
        case .success(let value): "read \(value)"
        case .failure(let error): "\(error)"
        }
    }

    @Test(arguments: [
        (#""""#, ""), (#" "a" "#, "a"), (#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{C}\n\r\t"),
        (#""\u0041x\u00e9\u20AC""#, "Axé€"), (#""\ud83d\ude00!""#, "😀!"), (#""\uDBFF\uDFFF""#, "\u{10FFFF}"),
        (#""é😀""#, "é😀"), (#""\u0000""#, "\0"), ("\"\u{7F}\"", "\u{7F}"),
    ])
    func strings(text: String, expected: String) {
        #expect(string(text) == .success(Array(expected.utf8)))
    }

    @Test(arguments: [
        ("", "the JSON ends too early at byte 0"),
        (#""a"#, "the JSON ends too early at byte 2"),
        (#""a\"#, "the JSON ends too early at byte 3"),
        (#""\u12"#, "the JSON ends too early at byte 5"),
        (#""\x""#, "unknown escape in a JSON string at byte 1"),
        (#""\u12g4""#, "unknown escape in a JSON string at byte 1"),
        (#""\ud83d""#, "half of a surrogate pair in a JSON string at byte 1"),
        (#""\ud83dx\ude00""#, "half of a surrogate pair in a JSON string at byte 1"),
        (#""\ud83d\u0041""#, "half of a surrogate pair in a JSON string at byte 1"),
        (#""\ude00""#, "half of a surrogate pair in a JSON string at byte 1"),
        ("\"a\nb\"", "unescaped control byte 0x0a in a JSON string at byte 2"),
        ("\"\0\"", "unescaped control byte 0x00 in a JSON string at byte 1"),
        (#""a" x"#, "bytes after the end of the JSON at byte 4"),
        ("5", "a string was expected and a number found at byte 0"),
        ("'a'", "unexpected ''' in the JSON at byte 0"),
        ("\u{FEFF}\"a\"", "unexpected byte 0xef in the JSON at byte 0"),
    ])
    func badStrings(text: String, message: String) {
        #expect(failure(string(text)) == message)
    }

    @Test(arguments: [
        [0x80], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF5, 0x80, 0x80, 0x80], [0xC3], [0xE2, 0x82],
    ])
    func invalidUTF8(bytes: [UInt8]) {
        #expect(failure(string([0x22] + bytes + [0x22])) == "invalid UTF-8 in the JSON string at byte 1")
    }

    @Test(arguments: [
        ("0", 0), ("-0", 0), ("7", 7), (" -12 ", -12), ("9223372036854775807", Int64.max),
        ("-9223372036854775808", Int64.min),
    ])
    func integers(text: String, expected: Int64) {
        #expect(integer(text) == .success(expected))
    }

    @Test(arguments: [
        ("1.0", "a number that is not an integer at byte 0"),
        ("1e3", "a number that is not an integer at byte 0"),
        ("-1.5E+10", "a number that is not an integer at byte 0"),
        ("9223372036854775808", "an integer outside the range of 64 bits at byte 0"),
        ("-9223372036854775809", "an integer outside the range of 64 bits at byte 0"),
        ("123456789012345678901234567890", "an integer outside the range of 64 bits at byte 0"),
        ("01", "a JSON number with a leading zero at byte 0"),
        ("-01", "a JSON number with a leading zero at byte 1"),
        ("+5", "unexpected '+' in the JSON at byte 0"),
        (".5", "unexpected '.' in the JSON at byte 0"),
        ("1.", "the JSON ends too early at byte 2"),
        ("1.e", "unexpected 'e' in the JSON at byte 2"),
        ("-", "the JSON ends too early at byte 1"),
        ("--1", "unexpected '-' in the JSON at byte 1"),
        ("0x10", "bytes after the end of the JSON at byte 1"),
        ("1 2", "bytes after the end of the JSON at byte 2"),
        ("NaN", "unexpected 'N' in the JSON at byte 0"),
        (#""5""#, "a number was expected and a string found at byte 0"),
    ])
    func badIntegers(text: String, message: String) {
        #expect(failure(integer(text)) == message)
    }

    @Test func onlyValuesOfTheWrongKindAreNoSyntaxErrors() {
        #expect(JSONError(.notInteger, at: 0).isSyntax == false)
        #expect(JSONError(.outOfRange, at: 0).isSyntax == false)
        #expect(JSONError(.wrongKind(expected: .string, found: .null), at: 0).isSyntax == false)
        #expect(JSONError(.leadingZero, at: 0).isSyntax)
    }

    @Test func membersKeepTheirOrderTheirRepeatsAndTheirNormalization() {
        let text = "{\"b\":1, \"a\":2 ,\"b\":-3,\"e\u{301}\":4,\"é\":5}"
        let members = scan(Array(text.utf8)) { (scanner) throws(JSONError) in
            var members: [[UInt8]] = []
            var values: [Int64] = []
            var name: [UInt8] = []
            try scanner.beginObject()
            while try scanner.nextName(into: &name) {
                members.append(name)
                values.append(try scanner.integer())
            }
            return members.map { String(decoding: $0, as: UTF8.self).unicodeScalars.count } + values.map { Int($0) }
        }
        #expect(members == .success([1, 1, 1, 2, 1, 1, 2, -3, 4, 5]))
    }

    @Test(arguments: [
        "{}", "[]", "[ ]", "{ }", "[[],[[]],{}]", #"{"a":{"b":[1,{"c":null}]},"d":[true,false,-1.5e-3,"x"]}"#,
        "\t\r\n [1 , 2]\n", "null", "true",
    ])
    func skipsWhatIsValid(text: String) {
        #expect(skip(text) == .success(true))
    }

    @Test(arguments: [
        ("[1,]", "unexpected ']' in the JSON at byte 3"),
        ("[,1]", "unexpected ',' in the JSON at byte 1"),
        ("[1 2]", "unexpected '2' in the JSON at byte 3"),
        ("[1", "the JSON ends too early at byte 2"),
        ("[1}", "unexpected '}' in the JSON at byte 2"),
        (#"{"a":1,}"#, "unexpected '}' in the JSON at byte 7"),
        (#"{"a" 1}"#, "unexpected '1' in the JSON at byte 5"),
        (#"{"a":}"#, "unexpected '}' in the JSON at byte 5"),
        (#"{"a":1]"#, "unexpected ']' in the JSON at byte 6"),
        ("{a:1}", "unexpected 'a' in the JSON at byte 1"),
        ("{1:1}", "unexpected '1' in the JSON at byte 1"),
        ("tru", "the JSON ends too early at byte 3"),
        ("trux", "unexpected 'x' in the JSON at byte 3"),
        ("nullx", "bytes after the end of the JSON at byte 4"),
        ("[]]", "bytes after the end of the JSON at byte 2"),
        ("[1]\u{C}", "bytes after the end of the JSON at byte 3"),
        ("// x", "unexpected '/' in the JSON at byte 0"),
    ])
    func refusesWhatIsNot(text: String, message: String) {
        #expect(failure(skip(text)) == message)
    }

    @Test func depthIsBounded() {
        let bound = JSONScanner.depthMax
        func nested(_ depth: Int) -> String {
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        #expect(skip(nested(bound)) == .success(true))
        #expect(failure(skip(nested(bound + 1))) == "JSON nested deeper than 32 at byte 32")
    }

    @Test func everyTruncationIsRefused() {
        let text = Array(#"{"a":[1,-2,"x\u00e9\ud83d\ude00",true,null,{"b":0.5e1}],"é":{}}"#.utf8)
        for length in 0..<text.count {
            let result = scan(Array(text[..<length])) { (scanner) throws(JSONError) in try scanner.skip() }
            guard case .failure = result else {
                Issue.record("accepted \(length) bytes")
                continue
            }
        }
    }

    @Test func writesWhatItReads() {
        for scalar in (0..<0x300).compactMap({ Unicode.Scalar(UInt32($0)) }) {
            let text = "k\(scalar)\"\\"
            #expect(string(JSONText.quote(text)) == .success(Array(text.utf8)))
        }
        #expect(JSONText.quote("a\"\\\n\u{1}\u{7F}é") == #""a\"\\\n\u0001\u007fé""#)
    }
}

@Suite struct DecimalTextTests {
    private func read(_ text: String) -> DecimalText.Reading {
        Array(text.utf8).withUnsafeBytes { DecimalText.int64($0) }
    }

    @Test func readsDigitsOnly() {
        #expect(read("0") == .value(0))
        #expect(read("-0") == .value(0))
        #expect(read("007") == .value(7))
        #expect(read("000000000000000000000000000001") == .value(1))
        for text in ["", "-", "+5", " 5", "5 ", "1.0", "1e3", "--1", "0x1", "٣", "1,000"] {
            #expect(read(text) == .notAnInteger, "\(text)")
        }
    }

    @Test func knowsItsRange() {
        #expect(read("9223372036854775807") == .value(.max))
        #expect(read("-9223372036854775808") == .value(.min))
        #expect(read("9223372036854775808") == .outOfRange)
        #expect(read("-9223372036854775809") == .outOfRange)
        #expect(read("99999999999999999999999999") == .outOfRange)
        #expect(read("9999999999999999999x") == .notAnInteger)
        #expect(read("0000000000000000000009223372036854775807") == .value(.max))
    }

    @Test func writesWhatItReads() {
        for value in [0, 1, -1, 10, -100, Int64.max, Int64.min] {
            var bytes: [UInt8] = [65]
            DecimalText.append(value, to: &bytes)
            #expect(String(decoding: bytes, as: UTF8.self) == "A\(value)")
        }
    }
}
