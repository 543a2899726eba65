// The Redis of an `up`: reachable by this user through a unix socket only, and with every acknowledged command on disk.
//
// How it is started, from the outside in:
//
//   setpriv    the system kills it when `up` ends, however that ends
//   sh         ends if `up` was gone before setpriv had said so: then no signal will come
//   flock      waits until no other Redis has the folder, and holds it as long as this one lives
//   redis-server
//
// Killed, and not asked to end: with `appendfsync always` a kill loses nothing that was answered, while a Redis that
// ends in order takes its time, and would then delete the socket of its successor. Its successor does wait: two on one
// append-only file would destroy it.

import Glibc
public import ServiceKit

/// A Redis that belongs to an `up`.
public struct PrivateRedis {
    static let logBytesMax = 10 << 20
    /// How long one that still ends may keep the folder.
    static let lockSeconds = 30

    /// Where it listens.
    public let socketPath: String
    public let role: Role

    /// Prepares everything and starts nothing.
    ///
    /// - Throws: 69 if a program is missing, 74 if a folder or the log cannot be made.
    public init(in folder: UpFolder, environment: [String: String]) throws(Failure) {
        let setpriv = try Programs.find("setpriv", package: "util-linux", environment: environment)
        let flock = try Programs.find("flock", package: "util-linux", environment: environment)
        let server = try Programs.find("redis-server", package: "redis-server", environment: environment)
        let socketPath = try SocketPath.prepare(
            "redis.sock", dataFolder: folder.dataFolder, environment: environment)
        // Its files hold every counter that is under way, and it makes them readable by all who can reach them.
        try Folder.makeClosed(folder.redisFolderPath)
        try FileLock.prepare(folder.redisLockPath)
        var arguments = ["--pdeathsig", "KILL", "--", "/bin/sh", "-c", Self.script, "\(getpid())"]
        arguments += [flock, "--no-fork", "--timeout", "\(Self.lockSeconds)", folder.redisLockPath, server]
        for (key, value) in Self.configuration(socketPath: socketPath, folder: folder.redisFolderPath) {
            arguments += ["--\(key)", value]
        }
        self.socketPath = socketPath
        role = Role(
            "redis", kind: .redis,
            plan: .init(
                executable: setpriv, arguments: arguments, environment: RolePlans.foreignVariables(environment)),
            readiness: .probe { UnixSocket.answers(socketPath) },
            log: try LineSink(appendingTo: folder.redisLogPath, maximumBytes: Self.logBytesMax))
    }

    /// $0 is the number of `up`, $@ what is to be run.
    private static let script = #"[ "$PPID" = "$0" ] || exit 69; exec "$@""#

    static func configuration(socketPath: String, folder: String) -> [(key: String, value: String)] {
        [
            ("port", "0"), ("unixsocket", socketPath), ("unixsocketperm", "700"),
            ("dir", folder), ("appendonly", "yes"), ("appendfsync", "always"), ("save", ""),
            ("maxmemory-policy", "noeviction"),
            ("daemonize", "no"), ("loglevel", "notice"), ("logfile", ""), ("always-show-logo", "no"),
        ]
    }
}
