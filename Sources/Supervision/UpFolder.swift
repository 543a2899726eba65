// What a running `up` keeps in its data folder:
//
//   <data>/up/lock           held while it runs, so that a folder has one `up`
//   <data>/up/redis.socket   the path of the socket of its private Redis
//   <data>/up/redis.sock     that socket, unless the path would be too long (SocketPath.swift)
//   <data>/up/control.socket the path of the socket at which this `up` is asked things
//   <data>/up/control.sock   that socket, unless the path would be too long
//   <data>/up/redis.lock     held by that Redis as long as it lives
//   <data>/up/redis.log      what that Redis says
//   <data>/redis/            that Redis's append-only files
//
// `redis.socket` and `control.socket` outlive an `up` that is killed. They count only while the lock is held.

import Glibc
public import ServiceKit

/// The folder of an `up` that holds its lock.
public struct UpFolder {
    /// The data folder, from the root and without symbolic links.
    public let dataFolder: String
    private let lock: FileLock

    /// Makes the folders, and takes the lock.
    ///
    /// - Throws: 75 if another `up` has it, 74 if the folders cannot be made.
    public static func acquire(dataFolder: String) throws(Failure) -> UpFolder {
        try Folder.make(dataFolder, mode: 0o750)
        guard let path = Programs.resolved(dataFolder) else {
            throw Failure(cannot: "open the data folder", errno: errno, at: dataFolder)
        }
        try Folder.makeClosed("\(path)/up")
        switch try FileLock.attempt("\(path)/up/lock") {
        case .acquired(let lock):
            let folder = UpFolder(dataFolder: path, lock: lock)
            for path in [folder.socketRecordPath, folder.controlRecordPath] {
                guard unlink(path) == 0 || errno == ENOENT else {
                    throw Failure(cannot: "delete the file of an earlier run", errno: errno, at: path)
                }
            }
            return folder
        case .held(let pid):
            let who = pid.map { "process \($0)" } ?? "another process"
            throw Failure(
                .locked, "\(who) runs a cluster in this folder", at: dataFolder,
                advice: "Stop it, or use another folder: --data-dir.")
        }
    }

    /// The socket of the private Redis of the `up` that runs in a data folder; nil if there is none. The default of
    /// `--redis`.
    ///
    /// - Throws: 74 if the files are there and cannot be read.
    public static func socket(ofDataFolder dataFolder: String) throws(Failure) -> String? {
        try holder(ofDataFolder: dataFolder) == nil ? nil : record("\(dataFolder)/up/redis.socket")
    }

    /// The `up` that runs in a data folder; nil if there is none.
    static func holder(ofDataFolder dataFolder: String) throws(Failure) -> Int32? {
        try FileLock.holder("\(dataFolder)/up/lock")
    }

    /// The control socket of the `up` that runs in a data folder, once it has told it.
    static func controlSocket(ofDataFolder dataFolder: String) throws(Failure) -> String? {
        try record("\(dataFolder)/up/control.socket")
    }

    private static func record(_ path: String) throws(Failure) -> String? {
        guard let bytes = try FileContent.readIfPresent(path, maximumBytes: 4096) else { return nil }
        let text = String(decoding: bytes, as: UTF8.self)
        return text.hasPrefix("/") && text.hasSuffix("\n") ? String(text.dropLast()) : nil
    }

    /// Listens for other commands, and tells them where.
    ///
    /// - Throws: 74.
    public func openControl(environment: [String: String]) throws(Failure) -> ControlSocket {
        let path = try SocketPath.prepare("control.sock", dataFolder: dataFolder, environment: environment)
        let socket = try ControlSocket(at: path)
        try AtomicFile.write(Array("\(path)\n".utf8), to: controlRecordPath)
        return socket
    }

    /// Tells other commands where the private Redis listens.
    ///
    /// - Throws: 74.
    public func publish(socket: String) throws(Failure) {
        try AtomicFile.write(Array("\(socket)\n".utf8), to: socketRecordPath)
    }

    var path: String { "\(dataFolder)/up" }
    var socketRecordPath: String { "\(path)/redis.socket" }
    var controlRecordPath: String { "\(path)/control.socket" }
    var redisLockPath: String { "\(path)/redis.lock" }
    var redisLogPath: String { "\(path)/redis.log" }
    var redisFolderPath: String { "\(dataFolder)/redis" }
}
