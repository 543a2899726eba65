// Where the sockets of an `up` lie: the private Redis's, redis.sock, and its own, control.sock. The system takes 107
// bytes for the path of a socket, and data folders can be deeper; a URL cannot carry every character of a path. So one
// of these, the first that can be had:
//
//   <data>/up/<name>
//   $XDG_RUNTIME_DIR/tallymill-<hash>/<name>
//   /tmp/tallymill-<uid>/<hash>/<name>
//
// The hash is FNV-1a, 64 bits, of the absolute path of the data folder: the same folder gets the same socket.
// http://www.isthe.com/chongo/tech/comp/fnv/

import Glibc
import ServiceKit
import TallyCore

enum SocketPath {
    /// Of `sun_path`, without its NUL.
    static let bytesMax = 107

    /// The path, in a folder that exists now and that only this user can change.
    ///
    /// - Parameters:
    ///   - name: of the socket in its folder.
    ///   - temporary: /tmp, but for tests.
    /// - Throws: 74 if a folder cannot be made or belongs to somebody else.
    static func prepare(
        _ name: String, dataFolder: String, environment: [String: String], temporary: String = "/tmp"
    ) throws(Failure) -> String {
        let near = "\(dataFolder)/up/\(name)"
        if isUsable(near) { return near }
        let hash = Self.hash(of: dataFolder)
        if let runtime = environment["XDG_RUNTIME_DIR"], runtime.hasPrefix("/"), access(runtime, W_OK) == 0,
            isUsable("\(runtime)/tallymill-\(hash)/\(name)")
        {
            try Folder.makePrivate("\(runtime)/tallymill-\(hash)")
            return "\(runtime)/tallymill-\(hash)/\(name)"
        }
        let own = "\(temporary)/tallymill-\(geteuid())"
        try Folder.makePrivate(own)
        try Folder.makePrivate("\(own)/\(hash)")
        return "\(own)/\(hash)/\(name)"
    }

    static func isUsable(_ path: String) -> Bool {
        path.utf8.count <= bytesMax && path.utf8.allSatisfy(Programs.isPlain)
    }

    /// 16 hexadecimal digits.
    static func hash(of text: String) -> String {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        return Hex.text(hash)
    }
}
