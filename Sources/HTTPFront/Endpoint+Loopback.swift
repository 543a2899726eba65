// Who reaches an address: this machine alone, or others too. What counts is what a name resolves to, not its spelling.

public import ServiceKit

extension Endpoint {
    /// Whether this machine alone reaches it. False for a name that cannot be resolved.
    public var isLoopback: Bool {
        do throws(ResolverError) { return try SocketAddress.resolve(self).allSatisfy(\.isLoopback) } catch {
            return false
        }
    }
}
