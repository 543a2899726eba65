// Control characters above ASCII in keys: refused at the doors, and escaped where they are shown, because shards, lists
// and backups from before that rule may hold such keys and go on.

import Testing

@testable import HTTPFront
@testable import TallyCore

private func withBytes<Result>(_ text: String, _ use: (UnsafeRawBufferPointer) -> Result) -> Result {
    Array(text.utf8).withUnsafeBytes(use)
}

@Suite struct KeyDoorTests {
    @Test(arguments: 0x80...0x9F)
    func everyC1ControlIsRefused(code: Int) throws {
        let scalar = try #require(Unicode.Scalar(UInt32(code)))
        let hex = Hex.text([UInt8(code)])
        let sentence = "the key has the control character U+00\(hex.uppercased()) at offset 3"
        let shown = #""key":"aé\u00\#(hex)b"#
        let character = "\(scalar)"
        for (target, type, body) in [
            ("/increment", formType, "key=a%C3%A9%C2%\(hex)b&value=1"),
            ("/increment", formType, "key=aé\(character)b&value=1"),
            ("/increment?key=a%C3%A9%C2%\(hex)b&value=1", formType, ""),
            ("/increment", "application/json", #"{"key":"aé\u00\#(hex)b","value":1}"#),
            ("/increments", "application/json", "{\"aé\(character)b\":1}"),
            ("/increments", "application/x-ndjson", #"{"key":"aé\u00\#(hex)b","value":1}"#),
            ("/increments", "text/plain", "aé\(character)b 1\n"),
        ] {
            let answer = try #require(try answers(to: post(target, type, body)).first)
            #expect(answer.status == 422)
            #expect(answer.body.contains(sentence), "\(answer)")
            #expect(answer.body.contains(shown), "\(answer)")
        }
    }

    @Test(arguments: ["\u{A0}", "é", "\u{7FF}", "Â", "aÂ\u{A0}", "慢\u{2028}", "\u{10080}"])
    func itsNeighboursAreTaken(key: String) {
        #expect(withBytes(key) { Key.validate($0) } == nil)
    }

    @Test func whatIsInsideAlreadyIsRead() throws {
        let key = "a\u{9B}31m"
        #expect(withBytes(key) { Key.validate($0) } == .controlCharacter(0x9B, at: 1))
        #expect(withBytes(key) { Key.validateStored($0) } == nil)
        #expect("\(try Key(stored: Array(key.utf8)))" == key)
        #expect(throws: KeyError.controlCharacter(0x9B, at: 1)) { try Key(key) }
        for wrong in ["", "a\u{7F}", String(repeating: "k", count: 513)] {
            #expect(withBytes(wrong) { Key.validateStored($0) == Key.validate($0) && Key.validate($0) != nil })
        }
        #expect([UInt8(0xC2)].withUnsafeBytes { Key.validateStored($0) } == .notUTF8)
    }

    /// A batch that was in its list when the consumers were upgraded.
    @Test func aBatchWithSuchAKeyCounts() throws {
        let stream = StreamID(
            partition: PartitionID(epoch: 1, number: 0),
            producer: ProducerID(try #require(Bytes16("00112233445566778899aabbccddeeff"))))
        var writer = BatchWriter(
            stream: stream, nextSequence: 1, cumulative: .zero, frozenAt: 1, origin: nil, limitBytes: 1 << 16,
            sizeHint: 0)
        withBytes("a\u{85}") { writer.append(key: $0, increments: 2, sum: 5) }
        let batches = writer.finish()
        let amount = try batches[0].bytes.withUnsafeBytes { try BatchReader($0).amount }
        #expect(amount == Amount(increments: 2, sum: 5))
    }

    @Test func jsonEscapesThem() {
        #expect(JSONText.quote("\u{80}a\u{9F}\u{A0}é\u{7F}") == #""\u0080a\u009f\#u{A0}é\u007f""#)
        #expect(JSONText.quote([0xC2]) == "\"\u{FFFD}\"", "bytes that are no UTF-8 stay what they are")
        var output: [UInt8] = []
        JSONText.append(quoted: [0xC2, 0xC2, 0x85, 0xC2, 0x22], to: &output)
        #expect(output == [0x22, 0xC2] + Array(#"\u0085"#.utf8) + [0xC2] + Array("\\\"\"".utf8))
    }
}
