// A tool's way to Redis: the same call again when Redis restarts under it, for as long as there is hope.
//
// Every function that the tools call may be repeated (create, seal, publish, inspect, collect), so a call whose fate is
// unknown is simply made once more.

import RedisQueue
import ServiceKit
import TallyCore

/// Calls on the key groups and the topology that outlive a connection. Owned by one thread.
final class ToolRedis {
    /// How long Redis may stay away before a tool gives up.
    static let patienceMilliseconds: UInt64 = 60_000

    private let access: RedisAccess
    private var connection: RedisConnection?

    init(_ access: RedisAccess) {
        self.access = access
    }

    /// Calls `body` until it is answered.
    ///
    /// - Throws: 69 when Redis stays away, 78 if it refuses us.
    func call<Value>(_ body: (ClusterKeys) throws(RedisError) -> Value) throws(Failure) -> Value {
        let deadline = MonotonicClock.milliseconds() + Self.patienceMilliseconds
        while true {
            let now = MonotonicClock.milliseconds()
            let keys = try keys(waitingMilliseconds: deadline > now ? deadline - now : 0)
            do throws(RedisError) {
                return try body(keys)
            } catch {
                if !error.passesWithTime || MonotonicClock.milliseconds() >= deadline {
                    return try onRedis { () throws(RedisError) in throw error }
                }
                connection = nil
            }
        }
    }

    var names: KeyNames { access.names }

    /// A look that needs several calls and the files between them: made again from its start while Redis is away.
    func look<Value>(_ body: (ClusterKeys) throws(Failure) -> Value) throws(Failure) -> Value {
        let deadline = MonotonicClock.milliseconds() + Self.patienceMilliseconds
        while true {
            let keys = try keys(waitingMilliseconds: RedisAccess.startMilliseconds)
            do throws(Failure) {
                return try body(keys)
            } catch {
                if error.code != .unavailable || MonotonicClock.milliseconds() >= deadline { throw error }
                connection = nil
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
