// Whom a listener without tokens takes for a program of this machine. What reaches it through the loopback may still
// come from elsewhere: a browser here shows a page of anybody, that page may send requests to 127.0.0.1, and a name of
// its own site that it rebinds to 127.0.0.1 lets it read the answers. The browser itself tells: it names the site in
// `Host`, in `Origin`, or says `Sec-Fetch-Site: cross-site`. Programs send no such field, or name the listener.
//
// A verdict follows from the head alone, so it is kept with the head (`HeadCache`): the hot path looks at one word.

import Glibc

/// What in a head names somebody else.
enum Stranger: UInt8 {
    case host, origin, site
}

/// The names under which a listener may be asked.
struct HostRules {
    /// In lower case: as the listener was asked for, and what was allowed besides.
    private let own: [[UInt8]]
    private let allowed: [[UInt8]]
    /// The last `Host` that was found to be own, as it was sent: heads that are not kept mostly have the same.
    private var lastOwn: [UInt8] = []

    /// - Parameters:
    ///   - listener: the host of its address.
    ///   - allowed: other names, in any case.
    init(listener: String, allowed: [String]) {
        self.allowed = allowed.map { Self.lower($0.utf8) }
        own = [Self.lower(listener.utf8)] + self.allowed
    }

    /// Who is named that is not this machine; nil if nobody is. The paths of balancers are for everybody.
    ///
    /// - Parameter bytes: of the request, from its first.
    mutating func stranger(in head: RequestHead, _ bytes: UnsafeRawBufferPointer) -> Stranger? {
        if head.route.scope == nil { return nil }
        if head.hasHost, !isKnown(head.host.of(bytes)) { return .host }
        let origin = head.hasOrigin ? Self.origin(head.origin.of(bytes)) : nil
        if head.hasOrigin, !(origin.map { isOwn($0) } ?? false) { return .origin }
        // Pages of another site of this machine count as cross-site, too; only who was named may be one.
        if head.isCrossSite, !(origin.map { allowed.contains($0) } ?? false) { return .site }
        return nil
    }

    static func problem(_ stranger: Stranger) -> Problem {
        let what: String
        switch stranger {
        case .host: what = "the Host names neither this listener nor this machine"
        case .origin: what = "the Origin is a page of another host"
        case .site: what = "the request comes from a page of another site (Sec-Fetch-Site)"
        }
        return Problem(
            .forbidden,
            "\(what), and no tokens are demanded: a page in somebody's browser may have sent this. Name hosts that may"
                + " ask, such as that of a proxy, with --allowed-hosts; or demand tokens with --tokens-file")
    }

    private mutating func isKnown(_ host: UnsafeRawBufferPointer) -> Bool {
        if let start = host.baseAddress, host.count == lastOwn.count, memcmp(start, lastOwn, host.count) == 0 {
            return true
        }
        guard isOwn(Self.host(of: host)) else { return false }
        lastOwn = Array(host)
        return true
    }

    /// `localhost` and what is below it, 127.0.0.0/8, `::1`, and the names that were given.
    private func isOwn(_ host: [UInt8]) -> Bool {
        if own.contains(host) { return true }
        let below = ".localhost".utf8
        if host.elementsEqual("localhost".utf8) { return true }
        if host.count > below.count, host.suffix(below.count).elementsEqual(below) { return true }
        return host == Array("::1".utf8) || Self.isLoopbackIPv4(host)
    }

    /// 127.A.B.C in the one spelling that is no name.
    private static func isLoopbackIPv4(_ host: [UInt8]) -> Bool {
        let parts = host.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 4, parts[0].elementsEqual("127".utf8) else { return false }
        return parts.allSatisfy { (1...3).contains($0.count) && $0.allSatisfy { (0x30...0x39).contains($0) } }
    }

    /// `name:port`, `[address]:port` or either without a port, as the host alone.
    private static func host(of authority: UnsafeRawBufferPointer) -> [UInt8] {
        if authority.first == UInt8(ascii: "["), let end = authority.firstIndex(of: UInt8(ascii: "]")) {
            return lower(UnsafeRawBufferPointer(rebasing: authority[1..<end]))
        }
        let end = authority.firstIndex(of: UInt8(ascii: ":")) ?? authority.count
        var host = lower(UnsafeRawBufferPointer(rebasing: authority[..<end]))
        if host.last == UInt8(ascii: "."), host.count > 1 { host.removeLast() }
        return host
    }

    /// The host of `http://host:port`; nil for `null`, which sandboxed pages and files send, and for other schemes.
    private static func origin(_ text: UnsafeRawBufferPointer) -> [UInt8]? {
        for scheme: StaticString in ["http://", "https://"] {
            let length = scheme.utf8CodeUnitCount
            guard text.count > length, ASCII.matches(UnsafeRawBufferPointer(rebasing: text[..<length]), scheme) else {
                continue
            }
            return host(of: UnsafeRawBufferPointer(rebasing: text[length...]))
        }
        return nil
    }

    private static func lower(_ text: some Sequence<UInt8>) -> [UInt8] {
        text.map { (0x41...0x5A).contains($0) ? $0 | 0x20 : $0 }
    }
}
