// Everything that can be wrong with a request, as RFC 9457 problem details.
//
// `type` is about:blank, which RFC 9457 defines as "the status says it all"; `detail` says what to change, and
// `index` and `key` name the increment. Values that a client sent appear only as `key`.

import TallyCore

enum Status: UInt16, CaseIterable {
    case ok = 200
    case accepted = 202
    case badRequest = 400
    case unauthorized = 401
    case forbidden = 403
    case notFound = 404
    case methodNotAllowed = 405
    case requestTimeout = 408
    case lengthRequired = 411
    case contentTooLarge = 413
    case uriTooLong = 414
    case unsupportedMediaType = 415
    case expectationFailed = 417
    case unprocessableContent = 422
    case tooManyRequests = 429
    case headerFieldsTooLarge = 431
    case notImplemented = 501
    case serviceUnavailable = 503
    case versionNotSupported = 505

    /// When a request is refused with it; nil if it is no refusal. The README prints these.
    var cause: String? {
        switch self {
        case .ok, .accepted: nil
        case .badRequest:
            "it does not parse: malformed HTTP, percent-encoding, UTF-8, JSON or lines; an unknown or repeated query"
                + " parameter; increments in both query and body; a level, `Prefer: wait` or `Idempotency-Key` that is"
                + " none"
        case .unauthorized: "no token, or one that the node does not know"
        case .forbidden:
            "a token without the scope; or, where no tokens are demanded, a `Host` or `Origin` that is not this"
                + " machine, or `Sec-Fetch-Site: cross-site`: see `--allowed-hosts`"
        case .notFound: "there is nothing at this path"
        case .methodNotAllowed: "another method is needed: see `Allow`"
        case .requestTimeout: "the head took longer than 10 s or the body longer than 30 s"
        case .lengthRequired: "a POST without a length, or a form in chunked coding without an end"
        case .contentTooLarge: "body or number of increments over the limit"
        case .uriTooLong: "request line over 8 KiB"
        case .unsupportedMediaType: "a content type that the path does not take, or any `Content-Encoding`"
        case .expectationFailed: "another `Expect` than `100-continue`"
        case .unprocessableContent:
            "it parses, but is refused: an empty body, a field that is missing, empty, unknown or repeated, a value"
                + " that is no integer or out of range, a key that is too long or has a control character, sums of an"
                + " idempotent request beyond 64 bits, an `Idempotency-Key` of a tool's form"
        case .tooManyRequests: "a token over its rate; with `Retry-After`"
        case .headerFieldsTooLarge: "header over 16 KiB or 64 fields"
        case .notImplemented: "a method that HTTP does not have"
        case .serviceUnavailable:
            "Redis is down, refuses, is another cluster's, or has settings that do not keep the promises; no cluster"
                + " is published; a backlog is over its limit; a shard lacks what it had; `repair` is due; another"
                + " process has this node's identity; too many connections; no memory for unfinished requests;"
                + " draining. With `Retry-After`"
        case .versionNotSupported: "another version than HTTP/1.1 and HTTP/1.0"
        }
    }

    var title: String {
        switch self {
        case .ok: "OK"
        case .accepted: "Accepted"
        case .badRequest: "Bad Request"
        case .unauthorized: "Unauthorized"
        case .forbidden: "Forbidden"
        case .notFound: "Not Found"
        case .methodNotAllowed: "Method Not Allowed"
        case .requestTimeout: "Request Timeout"
        case .lengthRequired: "Length Required"
        case .contentTooLarge: "Content Too Large"
        case .uriTooLong: "URI Too Long"
        case .unsupportedMediaType: "Unsupported Media Type"
        case .expectationFailed: "Expectation Failed"
        case .unprocessableContent: "Unprocessable Content"
        case .tooManyRequests: "Too Many Requests"
        case .headerFieldsTooLarge: "Request Header Fields Too Large"
        case .notImplemented: "Not Implemented"
        case .serviceUnavailable: "Service Unavailable"
        case .versionNotSupported: "HTTP Version Not Supported"
        }
    }
}

/// Bytes that cannot be understood as HTTP/1.1: answered, then the connection closes.
struct Malformed: Error {
    let status: Status
    let detail: String

    init(_ status: Status, _ detail: String) {
        self.status = status
        self.detail = detail
    }

    init(_ detail: String) {
        self.init(.badRequest, detail)
    }
}

/// A refusal of one request.
struct Problem: Error, Hashable {
    var status: Status
    var detail: String
    /// Which increment of the request, from 0.
    var index: Int?
    var key: [UInt8]?
    var allow: String?
    var retryAfterSeconds: Int?
    /// Whether the service behind the server refused, which counts its refusals itself.
    var isOfService = false
    /// The value of `WWW-Authenticate`.
    var challenge: String?

    init(
        _ status: Status, _ detail: String, index: Int? = nil, key: [UInt8]? = nil, allow: String? = nil,
        retryAfterSeconds: Int? = nil, challenge: String? = nil
    ) {
        self.status = status
        self.detail = detail
        self.index = index
        self.key = key
        self.allow = allow
        self.retryAfterSeconds = retryAfterSeconds
        self.challenge = challenge
    }

    static let nothingHere = Problem(.notFound, "there is nothing at this path")

    init(_ malformed: Malformed) {
        self.init(malformed.status, malformed.detail)
    }

    init(_ refusal: Refusal) {
        switch refusal {
        case .unavailable(let reason, let seconds):
            self.init(.serviceUnavailable, reason, retryAfterSeconds: seconds)
        case .unprocessable(let detail): self.init(.unprocessableContent, detail)
        }
        isOfService = true
    }

    /// The body of `application/problem+json`.
    var json: [UInt8] {
        var output = Array(#"{"type":"about:blank","title":"#.utf8)
        JSONText.append(quoted: status.title.utf8, to: &output)
        output += Array(#","status":"#.utf8)
        DecimalText.append(status.rawValue, to: &output)
        output += Array(#","detail":"#.utf8)
        JSONText.append(quoted: detail.utf8, to: &output)
        if let index {
            output += Array(#","index":"#.utf8)
            DecimalText.append(index, to: &output)
        }
        if let key, JSONText.isUTF8(key), key.count <= Limits.keyBytesMax {
            output += Array(#","key":"#.utf8)
            JSONText.append(quoted: key, to: &output)
        }
        output.append(UInt8(ascii: "}"))
        return output
    }
}
