// What the connections of one loop have refused, by reason. Requests that were handed to the service are its own to
// count.

/// Why the HTTP side refused a request: one for each status, and the label of a metric.
public enum Rejection: String, CaseIterable, Sendable {
    case badRequest = "bad_request"
    /// No token, or one that is not known.
    case unauthorized
    /// A token without the scope.
    case forbidden
    case notFound = "not_found"
    case methodNotAllowed = "method_not_allowed"
    case requestTimeout = "request_timeout"
    case lengthRequired = "length_required"
    case contentTooLarge = "content_too_large"
    case uriTooLong = "uri_too_long"
    case unsupportedMediaType = "unsupported_media_type"
    case expectationFailed = "expectation_failed"
    case unprocessableContent = "unprocessable_content"
    /// A token that sends more than it may.
    case rateLimited = "rate_limited"
    case headerFieldsTooLarge = "header_fields_too_large"
    case notImplemented = "not_implemented"
    /// Too many connections, or the server is shutting down.
    case turnedAway = "turned_away"
    case versionNotSupported = "version_not_supported"

    /// nil for a status that refuses nothing.
    init?(_ status: Status) {
        switch status {
        case .ok, .accepted: return nil
        case .badRequest: self = .badRequest
        case .unauthorized: self = .unauthorized
        case .forbidden: self = .forbidden
        case .tooManyRequests: self = .rateLimited
        case .notFound: self = .notFound
        case .methodNotAllowed: self = .methodNotAllowed
        case .requestTimeout: self = .requestTimeout
        case .lengthRequired: self = .lengthRequired
        case .contentTooLarge: self = .contentTooLarge
        case .uriTooLong: self = .uriTooLong
        case .unsupportedMediaType: self = .unsupportedMediaType
        case .expectationFailed: self = .expectationFailed
        case .unprocessableContent: self = .unprocessableContent
        case .headerFieldsTooLarge: self = .headerFieldsTooLarge
        case .notImplemented: self = .notImplemented
        case .serviceUnavailable: self = .turnedAway
        case .versionNotSupported: self = .versionNotSupported
        }
    }
}

/// Counts since the start of a loop.
public struct FrontStatistics: Hashable, Sendable {
    public private(set) var rejected: [Rejection: UInt64] = [:]

    /// Connections that were closed for others, because there were as many as there may be.
    public private(set) var closedForOthers: UInt64 = 0

    public init() {}

    mutating func countClosedForOther() {
        closedForOthers += 1
    }

    mutating func count(_ problem: Problem) {
        if problem.isOfService { return }
        guard let rejection = Rejection(problem.status) else { preconditionFailure("\(problem.status) is no problem") }
        rejected[rejection, default: 0] += 1
    }

    public static func += (left: inout FrontStatistics, right: FrontStatistics) {
        left.rejected.merge(right.rejected, uniquingKeysWith: +)
        left.closedForOthers += right.closedForOthers
    }
}
