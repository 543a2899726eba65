// Keys are bytes with bounds: what is refused, with which words, and that nothing but the bytes decides about order
// and equality.

import TallyCore
import Testing

@Suite struct KeyTests {
    private func error(_ bytes: [UInt8]) -> KeyError? {
        let validated = bytes.withUnsafeBytes { Key.validate($0) }
        do throws(KeyError) {
            let key = try Key(bytes)
            #expect(validated == nil && key.bytes == bytes)
            return nil
        } catch {
            #expect(validated == error, "the two ways in must agree")
            return error
        }
    }

    @Test func lengthBounds() {
        #expect(error([]) == .empty)
        #expect(error([0x61]) == nil)
        #expect(error(Array(repeating: 0x61, count: 512)) == nil)
        #expect(error(Array(repeating: 0x61, count: 513)) == .tooLong(bytes: 513))
        // 512 bytes are counted, not characters.
        #expect(error(Array(String(repeating: "é", count: 256).utf8)) == nil)
        #expect(error(Array(String(repeating: "é", count: 257).utf8)) == .tooLong(bytes: 514))
    }

    @Test func everyControlByteIsRefused() {
        for byte in Array(0..<0x20) + [0x7F] as [UInt8] {
            #expect(error([byte]) == .controlByte(byte, at: 0))
            #expect(error([0x61, 0x62, byte, 0x63]) == .controlByte(byte, at: 2))
            #expect(error([0xC3, 0xA9, byte]) == .controlByte(byte, at: 2))
        }
        for byte in 0x20..<0x7F as Range<UInt8> { #expect(error([byte]) == nil) }
    }

    @Test(
        arguments: [
            [0x80], [0xBF], [0xC3], [0x61, 0xC3], [0xC3, 0x61], [0xE2, 0x82], [0xF0, 0x9F, 0xA6],  // cut short
            [0xC0, 0xAF], [0xC1, 0xBF], [0xE0, 0x80, 0xAF], [0xF0, 0x80, 0x80, 0xAF],  // longer than needed
            [0xED, 0xA0, 0x80], [0xED, 0xBF, 0xBF], [0xED, 0xA0, 0xBD, 0xED, 0xB8, 0x80],  // surrogates
            [0xF4, 0x90, 0x80, 0x80], [0xF5, 0x80, 0x80, 0x80], [0xF8, 0x88, 0x80, 0x80, 0x80],  // beyond U+10FFFF
            [0xFE], [0xFF], [0xC3, 0xA9, 0xA9],
        ] as [[UInt8]])
    func invalidUTF8IsRefused(bytes: [UInt8]) {
        #expect(error(bytes) == .notUTF8)
        #expect(error(Array("prefix-".utf8) + bytes) == .notUTF8)
    }

    @Test(arguments: ["é", "€", "🦀", "\u{10FFFF}", "\u{FFFE}", "\u{A0}", "\u{E000}", " ", "a b", "\"", "%20"])
    func validTextIsAccepted(text: String) {
        #expect(error(Array(text.utf8)) == nil)
    }

    @Test func normalisationFormsAreDifferentKeys() throws {
        let composed = try Key("caf\u{E9}")
        let decomposed = try Key("cafe\u{301}")
        #expect("caf\u{E9}" == "cafe\u{301}", "which is why String is the wrong type")
        #expect(composed != decomposed)
        #expect(composed.hash64 != decomposed.hash64)
        #expect(Set([composed, decomposed]).count == 2)
    }

    @Test func orderIsThatOfTheBytes() throws {
        let texts = ["Z", "a", "aa", "b", "cafe\u{301}", "caf\u{E9}", "é", "\u{FFFD}", "🦀"]
        let keys = try texts.map { try Key($0) }
        #expect(keys.shuffled().sorted() == keys)
        for (left, right) in zip(keys, keys.dropFirst()) { #expect(left < right && !(right < left)) }
        #expect(!(keys[0] < keys[0]))
    }

    @Test func messagesAreStable() throws {
        #expect("\(KeyError.empty)" == "the key is empty")
        #expect("\(KeyError.tooLong(bytes: 513))" == "the key has 513 bytes; 512 are allowed")
        #expect("\(KeyError.controlByte(0x0A, at: 3))" == "the key has the control byte 0x0a at offset 3")
        #expect("\(KeyError.notUTF8)" == "the key is not valid UTF-8")
        #expect("\(try Key("café"))" == "café")
    }
}
