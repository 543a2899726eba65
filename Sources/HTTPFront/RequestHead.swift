// What the head of a request says, in the few words that matter here. Text stays in the request's bytes; this
// holds ranges of it, counted from the first byte of the request.

/// A range of the request's bytes in eight bytes of memory.
struct ByteRange: Hashable {
    var start: UInt32 = 0
    var end: UInt32 = 0

    init() {}

    init(_ start: Int, _ end: Int) {
        self.start = UInt32(start)
        self.end = UInt32(end)
    }

    func of(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: bytes[Int(start)..<Int(end)])
    }
}

enum Method: UInt8 {
    case get, head, post
    /// Of RFC 9110 or RFC 5789, but of no use to any resource here.
    case other
}

enum Route: UInt8 {
    case increment, increments, livez, readyz, ledger, status, metrics, none
}

enum MediaType: UInt8 {
    case none, form, json, ndjson, text, other
}

/// How the connection goes on after an answer, and what that answer must say about it.
enum Persistence: UInt8 {
    /// HTTP/1.1: it stays open, and nothing needs to be said.
    case persists
    /// HTTP/1.0 with `keep-alive`: it stays open, and the answer says so.
    case persistsExplicitly
    case closes
}

struct RequestHead {
    var method = Method.get
    var route = Route.none
    var mediaType = MediaType.none
    var isHTTP10 = false
    var hasQuery = false
    var hasHost = false
    var isChunked = false
    /// `Content-Encoding` other than `identity`.
    var isEncoded = false
    var expectsContinue = false
    var asksToClose = false
    var asksToKeepAlive = false
    var hasIdempotencyKey = false
    var hasAuthorization = false
    var hasOrigin = false
    /// `Sec-Fetch-Site: cross-site`: a browser says that a page of another site asks.
    var isCrossSite = false
    /// What `HostRules` have found; kept with the head, so that it is found once.
    var stranger: Stranger?
    var host = ByteRange()
    var origin = ByteRange()
    var query = ByteRange()
    /// As sent, not yet unquoted.
    var idempotencyKey = ByteRange()
    /// The credentials as sent: a scheme, and what belongs to it.
    var authorization = ByteRange()
    /// Seconds of `Prefer: wait`.
    var waitSeconds: UInt32?
    /// As declared; `Int.max` for more than an Int holds.
    var contentLength: Int?
    /// The offset of the first byte after the head.
    var bodyStart = 0

    var persistence: Persistence {
        if asksToClose { return .closes }
        if !isHTTP10 { return .persists }
        return asksToKeepAlive ? .persistsExplicitly : .closes
    }

    /// Whether a body of at least one byte may follow.
    var announcesBody: Bool { isChunked || (contentLength ?? 0) > 0 }
}
