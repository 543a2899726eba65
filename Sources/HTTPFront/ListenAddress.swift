// Where to listen: HOST:PORT, as it is written on a command line.

/// A host name or IP literal and a port.
public struct ListenAddress: Hashable, Sendable, CustomStringConvertible {
    /// Without brackets.
    public let host: String
    /// 0 lets the system choose.
    public let port: Int

    public init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// Reads `127.0.0.1:3333`, `localhost:3333` or `[::1]:3333`.
    public init(_ text: String) throws(ListenAddressError) {
        guard let colon = text.lastIndex(of: ":") else { throw .noPort(text) }
        var host = text[..<colon]
        let port = text[text.index(after: colon)...]
        if host.hasPrefix("[") {
            guard host.hasSuffix("]") else { throw .badBrackets(text) }
            host = host.dropFirst().dropLast()
            guard host.contains(":") else { throw .badBrackets(text) }
        } else if host.contains(":") {
            throw .needsBrackets(text)
        }
        if host.isEmpty { throw .noHost(text) }
        guard !port.isEmpty, port.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = UInt16(port) else {
            throw .badPort(text)
        }
        self.init(host: String(host), port: Int(number))
    }

    public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

/// Why a text is no HOST:PORT.
public enum ListenAddressError: Error, Hashable, Sendable, CustomStringConvertible {
    case noPort(String)
    case noHost(String)
    case badPort(String)
    case needsBrackets(String)
    case badBrackets(String)

    public var description: String {
        switch self {
        case .noPort(let text): "'\(text)' has no port; write HOST:PORT, for instance 127.0.0.1:3333"
        case .noHost(let text): "'\(text)' has no host; 0.0.0.0 listens on every IPv4 address, [::] on every address"
        case .badPort(let text): "'\(text)' has no port from 0 to 65535"
        case .needsBrackets(let text): "'\(text)' is ambiguous; write an IPv6 address in brackets: [::1]:3333"
        case .badBrackets(let text): "'\(text)' has brackets around something that is no IPv6 address"
        }
    }
}
