// Who may pass: the tokens of a file, which can be read again while everybody works.
//
// The table is replaced as a whole or not at all. Each event loop has a view of its own, which looks at one atomic
// number a request and takes the lock only after a reload.

import Glibc
public import ServiceKit
import Synchronization

/// The tokens of a node. From any thread.
public final class Access: Sendable {
    /// What a reload has found.
    public struct Summary: Hashable, Sendable {
        public var tokens: Int
        public var added: Int
        public var removed: Int
        /// The same name with another token, other scopes or another rate.
        public var changed: Int
        /// What is permitted and most likely not meant; each a sentence without a full stop.
        public var warnings: [String]
    }

    public let path: String
    private let table: Mutex<TokenTable>
    /// Goes up with every new table.
    fileprivate let version = Atomic<Int>(0)

    /// Reads a file of tokens.
    ///
    /// - Throws: 78 if it cannot be read, something in it is wrong, or everybody may write it.
    public init(path: String) throws(Failure) {
        self.path = path
        table = Mutex(TokenTable(try Self.readTokens(path)))
    }

    /// Reads the file again.
    ///
    /// - Throws: as `init`; the tokens then stay as they were.
    public func reload() throws(Failure) -> Summary {
        let tokens = try Self.readTokens(path)
        let (old, new) = table.withLock { table in
            let old = table
            table = TokenTable(tokens, after: old)
            return (old, table)
        }
        version.add(1, ordering: .releasing)
        return summary(of: new, after: old)
    }

    /// What is in force, compared with nothing.
    public var summary: Summary {
        let now = current
        return summary(of: now, after: now)
    }

    fileprivate var current: TokenTable { table.withLock { $0 } }

    private static func readTokens(_ path: String) throws(Failure) -> [Token] {
        if permissions(path) & S_IWOTH != 0 {
            throw Failure(
                .configuration, "everybody may write this file, and so admit himself", at: path,
                advice: "Run `chmod o-w \(path)`, and look at its lines.")
        }
        return try TokenFile.read(path).tokens
    }

    /// 0 for a file that is not there: reading it says why.
    private static func permissions(_ path: String) -> mode_t {
        var status = stat()
        return stat(path, &status) == 0 ? status.st_mode : 0
    }

    private func summary(of new: TokenTable, after old: TokenTable) -> Summary {
        let before = Dictionary(uniqueKeysWithValues: old.entries.map { ($0.token.name, TokenFile.line($0.token)) })
        let after = Dictionary(uniqueKeysWithValues: new.entries.map { ($0.token.name, TokenFile.line($0.token)) })
        var warnings: [String] = []
        // Not an error: who removes the last token wants it gone at once.
        if after.isEmpty { warnings.append("there is no token in it, so nobody may count") }
        if Self.permissions(path) & S_IROTH != 0 {
            warnings.append("everybody may read its names and digests: chmod o-r \(path)")
        }
        return Summary(
            tokens: after.count, added: after.keys.count { before[$0] == nil },
            removed: before.keys.count { after[$0] == nil },
            changed: after.count { before[$0.key] != nil && before[$0.key] != $0.value }, warnings: warnings)
    }
}

/// The tokens as one event loop sees them. Owned by that loop.
public struct AccessView {
    /// A token that was presented, and what it may do.
    public struct Bearer: Sendable {
        public let scopes: Scopes
        /// nil is unlimited.
        public let limiter: RateLimiter?
    }

    private let access: Access
    private var version: Int
    private var table: TokenTable

    public init(_ access: Access) {
        self.access = access
        version = access.version.load(ordering: .acquiring)
        table = access.current
    }

    /// Who presents these bytes as his token; nil if nobody may.
    public mutating func bearer(of token: UnsafeRawBufferPointer) -> Bearer? {
        let latest = access.version.load(ordering: .acquiring)
        if latest != version {
            // The number first: a table that is newer than it is looked at once more, never too late.
            version = latest
            table = access.current
        }
        guard (1...TokenSecret.bytesMax).contains(token.count), let entry = table.find(TokenDigest(of: token)) else {
            return nil
        }
        return Bearer(scopes: entry.token.scopes, limiter: entry.limiter)
    }
}
