// Where programs are, and how a command line has to be written to be pasted into a shell.

import Glibc
public import ServiceKit

public enum Programs {
    /// The path of a program on PATH.
    ///
    /// - Parameter package: what Debian and Ubuntu call the package that has it.
    /// - Throws: 69 if it is not there.
    public static func find(
        _ name: String, package: String, environment: [String: String]
    ) throws(Failure) -> String {
        if let path = lookUp(name, environment: environment) { return path }
        throw Failure(
            .unavailable, "\(name) is not on PATH",
            advice: "`apt-get install \(package)` installs it. With --redis, a Redis that runs already is used.")
    }

    /// The path of the running program, without symbolic links.
    ///
    /// - Throws: 1 if the system does not say.
    public static func own() throws(Failure) -> String {
        guard let path = resolved("/proc/self/exe") else {
            throw Failure(cannot: "find the path of this program", errno: errno, code: .failure)
        }
        return path
    }

    /// How a person calls the program at `path`: its bare name if that finds it, else the path, ready for a shell.
    public static func callName(of path: String, environment: [String: String]) -> String {
        let name = path.split(separator: "/").last.map(String.init) ?? path
        let found = lookUp(name, environment: environment).flatMap(resolved)
        return found == path ? name : ShellWord.quoted(path)
    }

    /// Whether a byte means only itself in shells and in URLs.
    static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): true
        case UInt8(ascii: "0")...UInt8(ascii: "9"): true
        case UInt8(ascii: "/"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "+"): true
        default: false
        }
    }

    /// An existing path without symbolic links, from the root.
    static func resolved(_ path: String) -> String? {
        guard let found = realpath(path, nil) else { return nil }
        defer { free(found) }
        return String(cString: found)
    }

    private static func lookUp(_ name: String, environment: [String: String]) -> String? {
        (environment["PATH"] ?? "/usr/local/bin:/usr/bin:/bin").split(separator: ":")
            .map { "\($0)/\(name)" }.first { access($0, X_OK) == 0 }
    }
}
