// What is wrong with a Redis URL. The sentences never quote the URL: the wrong part may be a password.

/// Why a URL or a password file cannot be used.
public enum RedisURLError: Error, Hashable, Sendable {
    case scheme
    case encryption
    case login
    case host
    case port
    case path
    /// Bytes of the path.
    case pathLength(Int)
    case query
    case database
    case passwordFile(path: String, reason: String)
}

extension RedisURLError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .scheme: "the Redis URL starts neither with redis:// nor with unix://"
        case .encryption:
            "rediss:// is not supported (no TLS): use redis:// through a tunnel or a private network, or unix://"
        case .login:
            "user or password of the Redis URL are not percent-encoded UTF-8: write / as %2F, @ as %40 and % as %25"
        case .host:
            "the Redis URL has no host: redis://[user[:password]@]host[:port][/db]"
        case .port: "the port of the Redis URL is not a number from 1 to 65535"
        case .path: "the Redis URL has no socket path: unix:///path/of/socket[?db=N]"
        case .pathLength(let bytes):
            "the socket path of the Redis URL has \(bytes) bytes, the system allows \(RedisURL.socketPathBytesMax)"
        case .query: "the Redis URL has a query or fragment that is not understood: only unix://...?db=N takes one"
        case .database: "the database of the Redis URL is not a number from 0 to \(RedisURL.databaseMax)"
        case .passwordFile(let path, let reason): "cannot read the Redis password from \(path): \(reason)"
        }
    }
}
