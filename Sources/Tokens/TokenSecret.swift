// A token itself: how it is made, what it may look like, and how a client reads its own from a file. It never stands
// on a command line, which every user of the machine can read, and it is not printed by accident.

public import ServiceKit

/// A token as its owner has it.
public struct TokenSecret: Sendable {
    /// What tokens of `new` begin with, so that people and scanners of leaked secrets recognise one.
    public static let mark = "tm_"
    /// Random bytes of a new token.
    static let randomBytes = 32
    /// The longest token that is looked at, in bytes.
    public static let bytesMax = 256
    /// The longest file that holds one, in bytes.
    static let fileBytesMax = 4_096

    /// For an `Authorization` field or the one line that shows it to its owner.
    public let text: String

    /// 256 bits from the system's generator of random numbers, in the alphabet of base64url.
    public static func random() -> TokenSecret {
        var generator = SystemRandomNumberGenerator()  // getrandom(2)
        return TokenSecret(
            text: mark + base64URL((0..<randomBytes).map { _ in .random(in: 0...255, using: &generator) }))
    }

    private init(text: String) {
        self.text = text
    }

    /// A text that may stand behind `Bearer`: `b64token` of RFC 6750, 1 to `bytesMax` bytes; nil for anything else.
    public init?(_ text: String) {
        var text = text
        guard text.withUTF8({ Self.isToken(UnsafeRawBufferPointer($0)) }) else { return nil }
        self.init(text: text)
    }

    /// The first line of a file.
    ///
    /// - Parameter name: how messages call the file.
    /// - Throws: 78 if it cannot be read or does not begin with a token; no message holds a part of it.
    public init(file path: String) throws(Failure) {
        let content: [UInt8]?
        do throws(Failure) {
            content = try FileContent.readIfPresent(path, maximumBytes: Self.fileBytesMax)
        } catch {
            throw Failure(.configuration, "the file of the token: \(error.what)", at: path, advice: error.advice)
        }
        guard let content else {
            throw Failure(
                .configuration, "there is no such file of a token", at: path,
                advice: "Correct \(Setting.tokenFile.flag) or \(Setting.tokenFile.variable).")
        }
        try self.init(firstLineOf: content, at: path)
    }

    /// The first line of what was read from `place`.
    ///
    /// - Throws: 78 if it is no token.
    public init(firstLineOf content: [UInt8], at place: String) throws(Failure) {
        let line = content.prefix { $0 != UInt8(ascii: "\n") }
        guard let secret = TokenSecret(String(decoding: line, as: UTF8.self)) else {
            throw Failure(
                .configuration,
                "the first line is no token: 1 to \(Self.bytesMax) letters, digits and -._~+/, then any number of =",
                at: place, advice: "`tallymill token new` prints one.")
        }
        self = secret
    }

    /// What a node keeps of it.
    public var digest: TokenDigest {
        var text = text
        return text.withUTF8 { TokenDigest(of: UnsafeRawBufferPointer($0)) }
    }

    /// Whether bytes may be a token.
    private static func isToken(_ bytes: UnsafeRawBufferPointer) -> Bool {
        var end = bytes.count
        guard (1...bytesMax).contains(end) else { return false }
        while end > 0, bytes[end - 1] == UInt8(ascii: "=") { end -= 1 }
        for byte in bytes[..<end] where !isTokenByte(byte) { return false }
        return end > 0
    }

    @inline(__always)
    private static func isTokenByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): true
        case UInt8(ascii: "-")...UInt8(ascii: "9"): true  // - . / and the digits
        case UInt8(ascii: "_"), UInt8(ascii: "~"), UInt8(ascii: "+"): true
        default: false
        }
    }

    /// RFC 4648, section 5, without padding.
    private static func base64URL(_ bytes: [UInt8]) -> String {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)
        var digits: [UInt8] = []
        var pending: UInt32 = 0
        var bits = 0
        for byte in bytes {
            pending = pending << 8 | UInt32(byte)
            bits += 8
            while bits >= 6 {
                bits -= 6
                digits.append(alphabet[Int(pending >> UInt32(bits)) & 63])
            }
        }
        if bits > 0 { digits.append(alphabet[Int(pending << UInt32(6 - bits)) & 63]) }
        return String(decoding: digits, as: UTF8.self)
    }
}

extension TokenSecret: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    public var description: String { "(token)" }
    public var debugDescription: String { description }
    public var customMirror: Mirror { Mirror(self, children: []) }
}
