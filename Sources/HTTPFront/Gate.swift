// Who may do what: decided from the head alone, before a byte of the body is read.
//
// The order is 401, 429, 403: who is nobody learns nothing and costs a digest; whoever is somebody pays for each
// request with his rate, also for those that are refused afterwards. The challenges are those of RFC 6750, section 3:
// it names an error only to who has sent a token.

import ServiceKit
import Tokens

extension Route {
    /// The scope that it takes; nil is for everybody.
    var scope: Scopes? {
        switch self {
        case .increment, .increments: .write
        case .ledger, .status, .metrics: .admin
        // A balancer asks these, and they say only whether this node serves and why not.
        case .livez, .readyz: nil
        // Answered with 404.
        case .none: nil
        }
    }
}

/// The gate of one event loop.
struct Gate {
    private static let realm = #"Bearer realm="tallymill""#
    private var view: AccessView

    init(_ access: Access) {
        view = AccessView(access)
    }

    /// Why a request may not pass, or nil; and what is left to its token, if that has a limit.
    ///
    /// - Parameters:
    ///   - bytes: of the request, from its first.
    ///   - now: milliseconds of the loop's clock.
    mutating func judge(
        _ head: RequestHead, _ bytes: UnsafeRawBufferPointer, now: UInt64
    ) -> (problem: Problem?, quota: Quota?) {
        guard let scope = head.route.scope else { return (nil, nil) }
        guard head.hasAuthorization, let token = Gate.token(in: head.authorization.of(bytes)) else {
            return (Gate.noToken, nil)
        }
        guard let bearer = view.bearer(of: token) else { return (Gate.unknownToken, nil) }
        let admission = bearer.limiter?.admit(now: now * 1_000_000)
        if let admission, !admission.isWithin { return (Gate.overRate(admission.quota), admission.quota) }
        if !bearer.scopes.contains(scope) { return (Gate.lacks(scope), admission?.quota) }
        return (nil, admission?.quota)
    }

    /// What stands behind `Bearer` and its spaces; nil for another scheme. It may be empty.
    private static func token(in credentials: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
        var index = 0
        while index < credentials.count, credentials[index] != ASCII.space { index += 1 }
        guard ASCII.matches(UnsafeRawBufferPointer(rebasing: credentials[..<index]), "bearer") else { return nil }
        while index < credentials.count, credentials[index] == ASCII.space { index += 1 }
        return UnsafeRawBufferPointer(rebasing: credentials[index...])
    }

    private static let noToken = Problem(
        .unauthorized, "this path takes a token: send it as Authorization: Bearer TOKEN", challenge: realm)

    private static let unknownToken = Problem(
        .unauthorized, "this node does not know the token", challenge: "\(realm), error=\"invalid_token\"")

    private static func lacks(_ scope: Scopes) -> Problem {
        Problem(
            .forbidden, "this path takes a token with the scope \(scope)",
            challenge: "\(realm), error=\"insufficient_scope\", scope=\"\(scope)\"")
    }

    private static func overRate(_ quota: Quota) -> Problem {
        Problem(
            .tooManyRequests, "this token may send \(quota.limit) requests a second to this node",
            retryAfterSeconds: RateLimiter.windowSeconds)
    }
}

extension Connection {
    /// Why the request whose head is complete may not pass, or nil.
    func judge(_ bytes: UnsafeRawBufferPointer) -> Problem? {
        if let stranger = parser.head.stranger { return HostRules.problem(stranger) }
        guard let verdict = front.gate?.judge(parser.head, bytes, now: front.loop.now) else { return nil }
        quota = verdict.quota
        if verdict.problem == nil, parser.head.route.scope != nil { prove() }
        return verdict.problem
    }

    /// Answers a request that may not pass. A body that is on its way is not read: this answer is the last.
    ///
    /// - Returns: the bytes of the head.
    func refuse(_ problem: Problem) -> Int {
        let head = parser.head
        let isLast = head.announcesBody || front.isDraining
        answer(problem, isLast ? .closes : head.persistence, isHead: head.method == .head)
        forgetRequest()
        return head.bodyStart
    }
}
