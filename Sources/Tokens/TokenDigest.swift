// The door to libcrypto: SHA-256 of a token, and the comparison of two such digests.
//
// A node keeps digests only, so its file of tokens opens nothing for who reads it. A plain hash is enough for that,
// where a password would need a slow one: a token has 256 random bits, and there is nothing to guess.

import CCrypto
import TallyCore

/// The SHA-256 of a token. It has no `==`: comparing takes the same time whatever differs.
public struct TokenDigest: Sendable {
    /// Bytes of a digest; it is written with twice as many hexadecimal digits.
    public static let byteCount = 32

    private let words: (UInt64, UInt64, UInt64, UInt64)

    // nonisolated(unsafe): libcrypto never changes a fetched algorithm, and any thread may use it.
    nonisolated(unsafe) private static let sha256: OpaquePointer = {
        guard let found = EVP_MD_fetch(nil, "SHA256", nil) else { preconditionFailure("libcrypto has no SHA-256") }
        return found
    }()

    /// The digest of a token's bytes.
    public init(of token: UnsafeRawBufferPointer) {
        var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
        let isDone = withUnsafeMutableBytes(of: &words) { digest in
            EVP_Digest(token.baseAddress, token.count, digest.baseAddress, nil, Self.sha256, nil)
        }
        precondition(isDone == 1, "SHA-256 fails only without memory")
        self.words = words
    }

    /// 64 hexadecimal digits; nil for anything else.
    public init?(hex: Substring) {
        guard hex.utf8.count == 2 * Self.byteCount, let bytes = Hex.bytes(hex) else { return nil }
        var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
        withUnsafeMutableBytes(of: &words) { $0.copyBytes(from: bytes) }
        self.words = words
    }

    /// 64 lower-case hexadecimal digits.
    public var hex: String { withUnsafeBytes(of: words) { Hex.text($0) } }

    /// The first eight bytes as one word: what a table finds it by.
    var prefix: UInt64 { words.0 }

    /// Whether two digests are the same, in constant time.
    func isSame(as other: TokenDigest) -> Bool {
        withUnsafeBytes(of: words) { mine in
            withUnsafeBytes(of: other.words) { CRYPTO_memcmp(mine.baseAddress, $0.baseAddress, Self.byteCount) == 0 }
        }
    }
}
