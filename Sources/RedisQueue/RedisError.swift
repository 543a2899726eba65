// What can go wrong between us and Redis, in a closed list.
//
// The cases differ in what is known about the command under way: after `unreachable` it was never sent, after `server`
// it was refused, after the others its fate is unknown. Whether the connection lives on is asked of the connection
// itself: after most refusals it does, after `codesThatEnd` it does not. An empty queue or a missing key is no error:
// those are values of the reply types.

/// Why Redis gave no usable answer.
public enum RedisError: Error, Hashable, Sendable {
    /// No connection came about: address and reason. Nothing was sent.
    case unreachable(String)
    /// The connection broke. What was sent may or may not have been executed.
    case connectionLost(String)
    /// No answer within this time. What was sent may still be executed.
    case timedOut(milliseconds: UInt64)
    /// Redis refused the command: its error code (`OOM`, `READONLY`, `WRONGTYPE`, ...) and text.
    case server(code: String, message: String)
    /// An answer that the protocol does not know.
    case protocolViolation(String)
    /// It answered with more than anything that is asked for takes.
    case overlong(bytesMax: Int)
    /// It answers, and is not used: it would not keep what it confirms.
    case unfit([ServerProblem])

    /// What the operator can do, if we know.
    public var hint: String? {
        switch self {
        case .unreachable: "check --redis, and that Redis runs"
        case .connectionLost, .timedOut, .unfit: nil
        case .overlong: "make sure that --redis leads to the Redis of this cluster, and to nothing else"
        case .server(let code, let message): Self.hint(code: code, message: message)
        case .protocolViolation: "run the same version of tallymill everywhere"
        }
    }

    /// What is wrong with a Redis that is not used; nil for every other error.
    public var problems: [ServerProblem]? {
        if case .unfit(let problems) = self { problems } else { nil }
    }

    /// Refusals of a Redis that is not, or no longer, the one that takes writes. They end the connection: behind the
    /// same address (a balancer, a virtual address, a name) may be another one by now.
    static let codesThatEnd: Set<String> = ["READONLY", "MASTERDOWN", "LOADING", "UNBLOCKED"]

    /// Refusals that a failover, a consumer that catches up or an operator mends while we wait.
    private static let codesThatPass: Set<String> = codesThatEnd.union([
        "BUSY", "MISCONF", "NOREPLICAS", "OOM", "TRYAGAIN",
    ])

    /// Whether the same call may succeed a moment later: a wrong password does not turn right by waiting.
    public var passesWithTime: Bool {
        switch self {
        case .unreachable, .connectionLost, .timedOut: true
        case .server("ERR", let message): message.hasPrefix("max number of clients")
        case .server(let code, _): Self.codesThatPass.contains(code)
        case .protocolViolation, .overlong: false
        case .unfit(let problems): problems.passWithTime
        }
    }

    /// Whether Redis has no such command, which is another matter than an ACL that forbids it.
    public var isUnknownCommand: Bool {
        if case .server(let code, let message) = self { Self.isUnknownCommand(code, message) } else { false }
    }

    private static func isUnknownCommand(_ code: String, _ message: String) -> Bool {
        code == "ERR" && message.hasPrefix("unknown command")
    }

    private static func hint(code: String, message: String) -> String? {
        switch code {
        case "OOM": "Redis is over its maxmemory: raise it, or let the consumers catch up"
        case "READONLY": "this Redis is a replica: point --redis to the primary"
        case "MASTERDOWN": "this Redis is a replica that has lost its primary: point --redis to the primary"
        case "UNBLOCKED": "this Redis has become a replica: point --redis to the primary"
        case "LOADING": "Redis reads its data files and will serve soon"
        case "MISCONF": "Redis cannot write its data files: look at its disk and its log"
        case "NOAUTH": "Redis wants a password: put it into the URL or the password file"
        case "WRONGPASS": "user or password is wrong"
        case "NOPERM":
            "connect as a user of Redis who may: the sample redis-acl.conf lists what each program needs"
        case "BUSY": "a script keeps Redis busy: SCRIPT KILL or FUNCTION KILL ends it"
        case "NOREPLICAS": "Redis wants more replicas (min-replicas-to-write) before it accepts writes"
        case "MOVED", "ASK", "CROSSSLOT", "CLUSTERDOWN": "Redis Cluster is not supported: use a single Redis"
        case "ERR" where message.hasPrefix("max number of clients"):
            "Redis has no connection left: raise its maxclients, or end clients that are not needed"
        case "ERR" where Self.isUnknownCommand(code, message):
            "it is renamed away (rename-command in redis.conf) or its provider does not offer it, or this is no Redis"
        case "ERR" where message.hasPrefix("Function not found"): "run `tallymill init`: it loads the functions"
        default: nil
        }
    }
}

extension RedisError: CustomStringConvertible {
    /// One sentence without the hint.
    public var description: String {
        switch self {
        case .unreachable(let reason): "cannot reach Redis at \(reason)"
        case .connectionLost(let reason): "lost the connection to Redis: \(reason)"
        case .timedOut(let milliseconds): "Redis did not answer within \(milliseconds) ms"
        case .server(let code, let message): "Redis refused: \(code) \(message)"
        case .protocolViolation(let text): "Redis answered what nobody expects: \(text)"
        case .overlong(let bytesMax):
            "Redis answered with more than \(bytesMax >> 20) MiB, which nothing that was asked takes"
        case .unfit(let problems): problems.map(\.description).joined(separator: "; ")
        }
    }
}
