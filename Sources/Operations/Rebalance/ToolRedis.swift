// A tool's way to Redis: the same call again when Redis restarts under it, for as long as there is hope.
//
// Every function that the tools call may be repeated (create, seal, publish, inspect, collect), so a call whose fate is
// unknown is simply made once more: after a wait that grows until a call is answered, for a Redis that takes the
// connection and then ends it is no better than one that is away.

import Glibc
import RedisQueue
import ServiceKit
import TallyCore

/// Calls on the key groups and the topology that outlive a connection. Owned by one thread.
final class ToolRedis {
    /// How long Redis may stay away before a tool gives up.
    static let patienceMilliseconds: UInt64 = 60_000

    private let access: RedisAccess
    private let patience: UInt64
    private var connection: RedisConnection?
    private var backoff = JitteredBackoff()
    private var random = SystemRandomNumberGenerator()

    init(_ access: RedisAccess, patienceMilliseconds: UInt64 = ToolRedis.patienceMilliseconds) {
        self.access = access
        patience = patienceMilliseconds
    }

    /// Calls `body` until it is answered.
    ///
    /// - Throws: 69 when Redis stays away, 78 if it refuses us.
    func call<Value>(_ body: (ClusterKeys) throws(RedisError) -> Value) throws(Failure) -> Value {
        let deadline = MonotonicClock.milliseconds() + patience
        while true {
            let now = MonotonicClock.milliseconds()
            let keys = try keys(waitingMilliseconds: deadline > now ? deadline - now : 0)
            do throws(RedisError) {
                let answer = try body(keys)
                backoff.reset()
                return answer
            } catch {
                if !error.passesWithTime || MonotonicClock.milliseconds() >= deadline {
                    return try onRedis { () throws(RedisError) in throw error }
                }
                pause()
            }
        }
    }

    /// Before the next connection.
    private func pause() {
        connection = nil
        usleep(UInt32(backoff.next(using: &random) * 1_000))
    }

    var names: KeyNames { access.names }

    /// A look that needs several calls and the files between them: made again from its start while Redis is away.
    func look<Value>(_ body: (ClusterKeys) throws(Failure) -> Value) throws(Failure) -> Value {
        let deadline = MonotonicClock.milliseconds() + patience
        while true {
            let keys = try keys(waitingMilliseconds: RedisAccess.startMilliseconds)
            do throws(Failure) {
                let answer = try body(keys)
                backoff.reset()
                return answer
            } catch {
                if error.code != .unavailable || MonotonicClock.milliseconds() >= deadline { throw error }
                pause()
            }
        }
    }

    private func keys(waitingMilliseconds: UInt64) throws(Failure) -> ClusterKeys {
        if connection == nil || connection?.failure != nil {
            connection = try access.connect(waitingMilliseconds: waitingMilliseconds)
        }
        guard let connection else { preconditionFailure("connected without a connection") }
        return ClusterKeys(connection: connection, names: access.names)
    }
}
