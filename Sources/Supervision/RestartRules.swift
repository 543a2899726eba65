// When a process that has ended is started again, decided without clocks or processes.
//
// At once the first time, then after 50 ms, doubled up to 1 s, so that a role that cannot live costs little; a life of
// 10 s shows that it can, and the next end counts as the first. An end that was asked for, or whose code says that
// starting again will not help, is the last. So is one of a role that has never worked: at once if it cannot reach or
// have what it needs (69), because roles wait for Redis themselves, and the person who types a command must not read
// ten times that another program has the address; else when it has been tried for 5 s.
//
// A consumer that must not touch its shard is no reason to end the others: Redis, which `repair` and `restore` need,
// the web node, and the consumers of all other shards. It is tried again every 5 s, until somebody has mended what it
// says. After `up` has been ready that holds also where it cannot have what it needs, such as a port or its lease.

import ServiceKit

struct RestartRules {
    enum Decision: Hashable {
        case restart(afterMilliseconds: UInt64)
        /// It was asked to end.
        case stay
        /// It will not come back before somebody has mended something.
        case refused(againAfterMilliseconds: UInt64)
        /// It will not come back: the cluster has to stop.
        case giveUp
    }

    static let firstDelayMilliseconds: UInt64 = 50
    static let delayMillisecondsMax: UInt64 = 1_000
    static let goodLifeMilliseconds: UInt64 = 10_000
    static let startPatienceMilliseconds: UInt64 = 5_000
    static let refusalMilliseconds: UInt64 = 5_000
    private let canWait: Bool
    private let isLate: Bool
    /// Whether it was refused what it needs, and has not had a good life since.
    private var isRefused = false

    private var endsInARow = 0
    private var firstEnd: UInt64?

    /// - Parameters:
    ///   - canWait: whether the others can go on without it.
    ///   - isLate: whether the cluster worked before it was first started, so that nobody sits there and waits for it.
    init(canWait: Bool = false, isLate: Bool = false) {
        self.canWait = canWait
        self.isLate = isLate
    }

    /// - Parameters:
    ///   - code: nil if a signal ended it, or it could not be started.
    ///   - started: when it was started, `now` when it ended, in milliseconds of the monotonic clock.
    mutating func ended(
        code: ExitCode?, started: UInt64, now: UInt64, isStopping: Bool, wasEverReady: Bool
    ) -> Decision {
        if now >= started + Self.goodLifeMilliseconds { isRefused = false }
        if canWait, !isStopping, let code {
            if code.needsMending || isLate && [.unavailable, .locked].contains(code) { isRefused = true }
        }
        if isRefused { return isStopping ? .stay : .refused(againAfterMilliseconds: Self.refusalMilliseconds) }
        if let code, !code.isWorthRestarting { return .giveUp }
        if isStopping { return .stay }
        if !wasEverReady, code == .unavailable { return .giveUp }
        let first = firstEnd ?? now
        firstEnd = first
        if !wasEverReady, now >= first + Self.startPatienceMilliseconds { return .giveUp }
        if now >= started + Self.goodLifeMilliseconds { endsInARow = 0 }
        defer { endsInARow += 1 }
        guard endsInARow > 0 else { return .restart(afterMilliseconds: 0) }
        let doublings = min(endsInARow - 1, 16)
        return .restart(afterMilliseconds: min(Self.delayMillisecondsMax, Self.firstDelayMilliseconds << doublings))
    }
}
