// How commands and roles come to a Redis that is fit for the promises: where it is, who we are, what is demanded of it,
// and the check at start.

import Glibc
public import RedisQueue
public import ServiceKit
import TallyCore

/// A checked way to Redis.
public struct RedisAccess: Sendable {
    /// How long a role waits for Redis at its start.
    public static let startMilliseconds: UInt64 = 5_000

    public internal(set) var link: RedisLink
    public let names: KeyNames
    /// Redis and namespace, without secrets.
    public var place: String { link.place(of: names) }
    /// Whether a Redis is accepted that may lose what it has confirmed.
    public var allowVolatile: Bool { link.allowVolatile }

    /// - Throws: 78 for a URL, password file or namespace that cannot be used.
    public init(
        url: String, passwordFile: String?, namespace: String, clientName: String, allowVolatile: Bool
    ) throws(Failure) {
        do throws(RedisURLError) {
            var parsed = try RedisURL(url)
            if let passwordFile { try parsed.readPassword(fromFile: passwordFile) }
            var link = RedisLink(url: parsed, clientName: clientName)
            link.allowVolatile = allowVolatile
            self.link = link
        } catch {
            throw Failure(.configuration, "\(error)", at: "--redis")
        }
        do throws(NamespaceError) {
            names = try KeyNames(namespace: namespace)
        } catch {
            throw Failure(.configuration, "\(error)", at: "--namespace")
        }
    }

    /// Connects and checks the server.
    ///
    /// - Parameters:
    ///   - waitingMilliseconds: how long one that time may mend is tried again: it is unreachable, loads, is a replica
    ///     that a failover may promote or replace, lacks replicas.
    ///   - needsLibrary: false for who loads it.
    /// - Throws: 69 if it is still so then, 78 if it is not fit.
    public func connect(
        waitingMilliseconds: UInt64, needsLibrary: Bool = true
    ) throws(Failure) -> RedisConnection {
        let (connection, problems) = try onRedis { () throws(RedisError) in
            try reach(waitingMilliseconds, needsLibrary: needsLibrary)
        }
        if problems.isEmpty { return connection }
        throw Failure(
            RedisError.unfit(problems).exitCode, problems.map { $0.description }.joined(separator: "\n  "),
            at: "\(link.url)", mayBeMisplaced: problems.contains(.libraryMissing))
    }

    /// Makes sure that Redis is there before long work begins, which then waits for it more patiently.
    ///
    /// - Throws: as `connect`, after 5 s.
    public func requireReachable() throws(Failure) {
        _ = try connect(waitingMilliseconds: Self.startMilliseconds)
    }

    /// Tries until Redis has answered everything and nothing is wrong that passes with time.
    private func reach(
        _ waitingMilliseconds: UInt64, needsLibrary: Bool
    ) throws(RedisError) -> (RedisConnection, [ServerProblem]) {
        let deadline = MonotonicClock.milliseconds() + waitingMilliseconds
        var backoff = JitteredBackoff()
        var random = SystemRandomNumberGenerator()
        while true {
            do throws(RedisError) {
                let connection = try RedisConnection(link)
                let problems = try ServerRequirements.problems(
                    of: connection, allowVolatile: allowVolatile, needsLibrary: needsLibrary)
                if problems.isEmpty || !problems.passWithTime || MonotonicClock.milliseconds() >= deadline {
                    return (connection, problems)
                }
            } catch {
                if !error.passesWithTime || MonotonicClock.milliseconds() >= deadline { throw error }
            }
            usleep(UInt32(backoff.next(using: &random) * 1_000))
        }
    }
}

extension RedisError {
    /// 78 where waiting cannot help: Redis refuses us, or is configured otherwise; 69 otherwise.
    fileprivate var exitCode: ExitCode {
        switch self {
        case .server where !passesWithTime, .unfit where !passesWithTime: .configuration
        case .server, .unfit, .unreachable, .connectionLost, .timedOut, .protocolViolation, .overlong: .unavailable
        }
    }
}

/// Does something with Redis; what fails carries 78 if Redis refuses us for good, 69 otherwise.
func onRedis<Value>(_ body: () throws(RedisError) -> Value) throws(Failure) -> Value {
    do throws(RedisError) { return try body() } catch { throw Failure(error) }
}

extension Failure {
    /// 78 if Redis refuses us for good, 69 otherwise.
    init(_ error: RedisError) {
        var mayBeMisplaced = false
        if case .unreachable = error { mayBeMisplaced = true }
        self.init(
            error.exitCode, error.description, advice: error.hint.map { "\($0)." }, mayBeMisplaced: mayBeMisplaced)
    }
}
