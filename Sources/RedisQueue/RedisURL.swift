// Where Redis is, as an operator writes it:
//
//   unix://[user[:password]@]/path/of/socket[?db=N]
//   redis://[user[:password]@]host[:port][/db]         host may be an IPv6 address in brackets
//
// User, password, host and path are percent-decoded once. No message and no description shows a password, nor any
// part of a text that might be one: errors name the part that is wrong and never quote it.

/// The address of a Redis, and who we are there.
public struct RedisURL: Hashable, Sendable {
    /// How the server is reached.
    public enum Address: Hashable, Sendable {
        case unix(path: String)
        case tcp(host: String, port: UInt16)
    }

    public static let portDefault: UInt16 = 6379
    /// What the system has room for in a socket's address, without the final zero.
    public static let socketPathBytesMax = 107
    public static let databaseMax = 65_535

    public let address: Address
    /// nil: the server's default user.
    public let user: String?
    public private(set) var password: Secret?
    /// 0...`databaseMax`
    public let database: Int

    public init(address: Address, user: String? = nil, password: Secret? = nil, database: Int = 0) {
        self.address = address
        self.user = user
        self.password = password
        self.database = database
    }

    /// The parts of `text`, or what is wrong with it.
    public init(_ text: String) throws(RedisURLError) {
        guard let separator = text.firstRange(ofText: "://") else { throw .scheme }
        let rest = text[separator.upperBound...]
        switch text[..<separator.lowerBound].lowercased() {
        case "unix": try self.init(unix: rest)
        case "redis": try self.init(tcp: rest)
        case "rediss": throw .encryption
        default: throw .scheme
        }
    }

    /// Takes the password from a file: all of it but line ends at its end. It replaces one in the URL.
    public mutating func readPassword(fromFile path: String) throws(RedisURLError) {
        password = try Secret(file: path)
    }

    private init(unix text: Substring) throws(RedisURLError) {
        // A user may stand before the path, never behind its first slash.
        let pathStart = text.firstIndex(of: "/") ?? text.endIndex
        let login = try Login(text[..<pathStart])
        guard login.rest.isEmpty, pathStart != text.endIndex else { throw .path }
        let parts = text[pathStart...].split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let path = try percentDecoded(parts[0], else: .path)
        guard path.utf8.count <= Self.socketPathBytesMax else { throw .pathLength(path.utf8.count) }
        var database = 0
        if parts.count > 1 {
            guard parts[1].hasPrefix("db=") else { throw .query }
            database = try Self.database(parts[1].dropFirst(3))
        }
        self.init(address: .unix(path: path), user: login.user, password: login.password, database: database)
    }

    private init(tcp text: Substring) throws(RedisURLError) {
        guard !text.contains("?"), !text.contains("#") else { throw .query }
        let pathStart = text.firstIndex(of: "/") ?? text.endIndex
        let login = try Login(text[..<pathStart])
        let path = text[pathStart...].dropFirst()
        // The user's part ends at the first slash: one behind it was cut in two.
        guard !path.contains("@") else { throw .login }
        let database = path.isEmpty ? 0 : try Self.database(path)
        var host = login.rest
        var port = Substring("\(Self.portDefault)")
        if host.hasPrefix("[") {
            guard let end = host.firstIndex(of: "]") else { throw .host }
            let behind = host[host.index(after: end)...]
            guard behind.isEmpty || behind.hasPrefix(":") else { throw .host }
            if !behind.isEmpty { port = behind.dropFirst() }
            host = host[host.index(after: host.startIndex)..<end]
        } else if let colon = host.firstIndex(of: ":") {
            port = host[host.index(after: colon)...]
            host = host[..<colon]
        }
        let name = try percentDecoded(host, else: .host)
        guard !name.isEmpty else { throw .host }
        guard port.utf8.allSatisfy({ $0 >= 48 && $0 <= 57 }), let number = UInt16(port), number > 0 else { throw .port }
        self.init(
            address: .tcp(host: name, port: number), user: login.user, password: login.password, database: database)
    }

    private static func database(_ text: Substring) throws(RedisURLError) -> Int {
        guard text.utf8.allSatisfy({ $0 >= 48 && $0 <= 57 }), let number = Int(text), number <= databaseMax else {
            throw .database
        }
        return number
    }
}

extension RedisURL: CustomStringConvertible {
    /// The address, without user and password.
    public var description: String {
        switch address {
        case .unix(let path): "unix://\(path)" + (database == 0 ? "" : "?db=\(database)")
        case .tcp(let host, let port):
            "redis://" + (host.contains(":") ? "[\(host)]" : host) + ":\(port)" + (database == 0 ? "" : "/\(database)")
        }
    }
}

/// `user:password@rest`
private struct Login {
    var user: String?
    var password: Secret?
    let rest: Substring

    init(_ text: Substring) throws(RedisURLError) {
        guard let at = text.lastIndex(of: "@") else {
            rest = text
            return
        }
        rest = text[text.index(after: at)...]
        let parts = text[..<at].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        if !parts[0].isEmpty { user = try percentDecoded(parts[0], else: .login) }
        if parts.count > 1 { password = Secret(try percentDecoded(parts[1], else: .login)) }
    }
}

private func percentDecoded(
    _ text: Substring, else failure: RedisURLError
) throws(RedisURLError) -> String {
    var bytes: [UInt8] = []
    var rest = text.utf8
    while let byte = rest.popFirst() {
        if byte == UInt8(ascii: "%") {
            guard let high = rest.popFirst(), let low = rest.popFirst(), high != 0x2B, high != 0x2D,
                let value = UInt8(String(decoding: [high, low], as: UTF8.self), radix: 16), value != 0
            else { throw failure }
            bytes.append(value)
        } else {
            bytes.append(byte)
        }
    }
    guard let text = String(validating: bytes, as: UTF8.self) else { throw failure }
    return text
}

extension String {
    fileprivate func firstRange(ofText mark: String) -> Range<Index>? {
        guard let start = indices.first(where: { self[$0...].hasPrefix(mark) }) else { return nil }
        return start..<index(start, offsetBy: mark.count)
    }
}
