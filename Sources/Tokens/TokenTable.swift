// All tokens of a node, found by the digest of what a client sent.
//
// What the time of a look-up may tell: whether the first 64 bits of the digest are those of a token, as one word and
// through a hash that is seeded anew in each process; never how many bits are right. So nobody can feel his way to a
// digest, and who had one would still have to find its 256-bit token. The rest is compared in constant time.

/// A table that does not change any more. Shared by all event loops.
final class TokenTable: Sendable {
    /// A token and its limiter; the limiter outlives a reload that leaves the rate as it is.
    struct Entry: Sendable {
        let token: Token
        let limiter: RateLimiter?
    }

    let entries: [Entry]
    /// Places in `entries` by the digest's first word.
    private let places: [UInt64: [Int]]

    /// - Parameter earlier: tokens that are in both keep their limiter, unless their rate has changed.
    init(_ tokens: [Token], after earlier: TokenTable? = nil) {
        entries = tokens.map { token in
            let known = earlier?.find(token.digest)?.limiter
            let limiter = known?.rate == token.rate ? known : token.rate.map { RateLimiter(rate: $0) }
            return Entry(token: token, limiter: limiter)
        }
        places = Dictionary(grouping: entries.indices) { [entries] in entries[$0].token.digest.prefix }
    }

    func find(_ digest: TokenDigest) -> Entry? {
        guard let candidates = places[digest.prefix] else { return nil }
        for place in candidates where entries[place].token.digest.isSame(as: digest) { return entries[place] }
        return nil
    }
}
