// The Redis function library: every change of a key happens in one of its functions.
//
// Its name, and the names of its functions, carry the version of the protocol (`tallymill_1`): two versions can be
// loaded side by side while nodes are upgraded. Within a version, `revision` counts changes that keep the meaning;
// `load` never replaces a higher revision by a lower one.
//
// Fields of a group's `meta` (integers are decimal):
//
//   state       open | sealed          shard    32 hex digits: the shard file that the group feeds
//   bytes       payload in the queue   duplicates  pushes answered DUP
//   token       last lease granted     lease    when it ends, ms since 1970 by Redis' clock; absent if released
//   host        of the holder          owner    the holder's label, for people
//   cluster     the owner: the cluster's 32 hex digits, a slash, and how many partitions the epoch has; absent in a
//               group that a release before revision 5 made and nobody has claimed since
//   behind      24-byte records, producer and floor: who has released more than the shard seems to have
//   earlier     32-byte records, producer, epoch, partition and floor: the same of streams of earlier epochs
//
// Rules for the Lua (Redis does not roll back): a function reads every key that it will write, which refuses a key of
// a wrong type; asks `redis.acl_check_cmd` for every write; and only then writes, with commands that cannot fail any
// more. Numbers stay below 2^53 and are stored as `%.0f`; Lua never does arithmetic on deltas.
//
// Functions that shrink or only move what is there (trim, claim, renew, release, seal, collect, bury) carry
// `allow-oom`: over its maxmemory, Redis must still let the consumers drain the queues, or it would never come below it
// again.

import TallyCore

/// Loads and checks the functions in Redis.
public enum FunctionLibrary {
    /// Of the protocol.
    public static let version = 1
    public static let name = "tallymill_\(version)"
    /// Counts changes of the source within a version.
    public static let revision = 7
    /// The Lua source, as `FUNCTION LOAD` takes it.
    public static let source = [
        "#!lua name=\(name)\n", "local PREFIX, REVISION = '\(name)_', \(revision)\n",
        "local BEHIND_MAX = \(Limits.behindStreamsMax)\n",
        sharedSource, producerSource, consumerSource, administrationSource, ledgerSource,
    ].joined(separator: "\n")

    /// What `load` found and did.
    public enum Loaded: Hashable, Sendable {
        case loaded
        /// This revision was there.
        case current
        /// A higher revision was there and stays.
        case newer(revision: Int)
    }

    /// Loads the library unless this revision or a higher one is there.
    public static func load(into connection: RedisConnection) throws(RedisError) -> Loaded {
        if let found = try loadedRevision(in: connection) {
            if found == revision { return .current }
            if found > revision { return .newer(revision: found) }
        }
        let reply = try connection.command(RedisCommand("FUNCTION", "LOAD", "REPLACE", source))
        guard reply.text == name else { throw .protocolViolation("FUNCTION LOAD answered \(reply)") }
        return .loaded
    }

    /// The revision in Redis, nil if the library is not loaded.
    public static func loadedRevision(in connection: RedisConnection) throws(RedisError) -> Int? {
        do throws(RedisError) {
            let reply = try connection.command(FunctionName.revision.call(keys: []))
            guard case .integer(let revision) = reply else {
                throw .protocolViolation("\(FunctionName.revision) answered \(reply)")
            }
            return Int(revision)
        } catch .server("ERR", let message) where message.hasPrefix("Function not found") {
            return nil
        }
    }
}

/// The functions, by what follows the prefix.
enum FunctionName: String, CaseIterable, CustomStringConvertible {
    case revision
    case push, heartbeat, compare, note
    case claim, renew, release, peek, trim
    case create, seal, topology, inspect, collect, bury
    case ledger

    var description: String { "\(FunctionLibrary.name)_\(rawValue)" }

    /// `FCALL` with its keys; the arguments are to be appended.
    func call(keys: [String]) -> RedisCommand {
        var command = RedisCommand("FCALL", description, String(keys.count))
        for key in keys { command.append(key) }
        return command
    }
}
