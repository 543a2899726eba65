// One token as the node knows it: who has it, what it opens, how fast. The token itself is nowhere, only its digest.

import ServiceKit

/// What a token opens.
public struct Scopes: OptionSet, Hashable, Sendable {
    public let rawValue: UInt8

    public init(rawValue: UInt8) {
        self.rawValue = rawValue
    }

    /// Counting: `/increment` and `/increments`.
    public static let write = Scopes(rawValue: 1)
    /// Looking: `/ledger`, and whatever else says something about the cluster.
    public static let admin = Scopes(rawValue: 2)

    private static let names: [(Scopes, String)] = [(.write, "write"), (.admin, "admin")]

    /// One or more names joined by commas, each once; nil for anything else.
    public init?(_ text: some StringProtocol) {
        var scopes: Scopes = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            guard let scope = Self.names.first(where: { $0.1 == part })?.0, scopes.insert(scope).inserted else {
                return nil
            }
        }
        self = scopes
    }
}

extension Scopes: CustomStringConvertible {
    /// As a file of tokens has it: `write`, `admin` or `write,admin`.
    public var description: String {
        Self.names.filter { contains($0.0) }.map(\.1).joined(separator: ",")
    }
}

/// A line of a file of tokens.
public struct Token: Sendable {
    /// Letters, digits, '.', '_' and '-'.
    public static let nameBytesMax = 64
    /// Requests a second that a limit may allow.
    public static let rateRange = 1...1_000_000

    /// For people and logs; unique in its file.
    public let name: String
    public let scopes: Scopes
    /// Requests a second, in `rateRange`; nil is unlimited.
    public let rate: Int?
    public let digest: TokenDigest

    /// The parts as they were checked: a name that `isName`, at least one scope, a rate in range.
    public init(name: String, scopes: Scopes, rate: Int?, digest: TokenDigest) {
        precondition(Self.isName(name) && !scopes.isEmpty, "a token has a name and a scope")
        precondition(rate.map(Self.rateRange.contains) ?? true, "a rate is in range")
        self.name = name
        self.scopes = scopes
        self.rate = rate
        self.digest = digest
    }

    /// Whether a text may be a token's name.
    public static func isName(_ text: some StringProtocol) -> Bool {
        SettingKind.name(maximumBytes: nameBytesMax).parse(String(text)) != nil
    }
}
