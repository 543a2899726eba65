// What the tests take from outside: the product's binary, how long to run, and the seed.
//
//     TALLYMILL_BINARY      the binary under test; else `tallymill` beside the test bundle
//     TALLYMILL_ROUNDS      rounds of the chaos test, 12 unless given
//     TALLYMILL_SEED        the seed of every random choice; else taken from the clock and printed
//     TALLYMILL_OUTAGE      seconds for which the outage test leaves Redis dead, 3 unless given
//     TALLYMILL_INCREMENTS  increments of the throughput test; 1,000,000 in a release build, else 100,000
//     TALLYMILL_KILLS       `all` for every strike of the kill matrix, else a third of them
//     TALLYMILL_SEQUENCES   sequences of the operators' campaign, 15 unless given
//     TALLYMILL_CLOCKS      `right` if the campaign is to step no clock
//     TALLYMILL_CUT_DOWN    how many failing sequences are cut down to the shortest, 3 unless given
//     TALLYMILL_JOURNAL     `all` to print what the campaign ran also of sequences that hold
//     TMPDIR                where the folders of the tests are made, /tmp unless given
//
// None of them reaches a child: the product refuses variables that it does not know.

import Glibc
import ServiceKit

public enum TestEnvironment {
    public static let rounds = integer("TALLYMILL_ROUNDS") ?? 12
    public static let outageSeconds = integer("TALLYMILL_OUTAGE") ?? 3
    public static let seed = integer("TALLYMILL_SEED").map { UInt64(bitPattern: Int64($0)) } ?? clockSeed
    public static let increments = integer("TALLYMILL_INCREMENTS") ?? defaultIncrements

    public static let sequences = integer("TALLYMILL_SEQUENCES") ?? 15

    public static let stepsClocks = variable("TALLYMILL_CLOCKS") != "right"
    public static let cutDown = integer("TALLYMILL_CUT_DOWN") ?? 3
    public static let isTalkative = variable("TALLYMILL_JOURNAL") == "all"

    public static let runsAllKills = variable("TALLYMILL_KILLS") == "all"

    private static let clockSeed = UInt64(WallClock.milliseconds()) % 1_000_000_007

    private static var defaultIncrements: Int {
        #if DEBUG
            100_000
        #else
            1_000_000
        #endif
    }

    /// The path of the product's binary.
    public static func binary() throws(HarnessError) -> String {
        let path = variable("TALLYMILL_BINARY") ?? buildFolder() + "/tallymill"
        guard access(path, X_OK) == 0 else {
            throw HarnessError("no binary at \(path): build the product, or set TALLYMILL_BINARY")
        }
        return path
    }

    /// The path of a program that the tests bring along.
    public static func probe(_ name: String) throws(HarnessError) -> String {
        let path = buildFolder() + "/" + name
        guard access(path, X_OK) == 0 else { throw HarnessError("no program at \(path): build the tests") }
        return path
    }

    /// The whole environment of a child: where programs are, and what lets many run side by side.
    public static let childEnvironment: [String: String] = {
        var kept = [
            "LC_ALL": "C.UTF-8", "NO_COLOR": "1", "TALLYMILL_LOG_FORMAT": "text",
            // Many clusters at a time: only a port that the system chooses is nobody else's.
            "TALLYMILL_ADMIN_PORT": "0",
        ]
        for name in ["PATH", "HOME", "LD_LIBRARY_PATH"] {
            if let value = variable(name) { kept[name] = value }
        }
        return kept
    }()

    /// What sets a process' clock off by so much, such as `+30d`, but not its monotonic one; nil if libfaketime is not
    /// installed.
    public static func faketime(_ offset: String) -> [String: String]? {
        let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"]
        let paths = folders.map { "\($0)/faketime/libfaketimeMT.so.1" }
        guard let path = paths.first(where: { access($0, R_OK) == 0 }) else { return nil }
        return [
            "LD_PRELOAD": path, "FAKETIME": offset, "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        ]
    }

    /// The first file of that name along PATH.
    public static func program(_ name: String) throws(HarnessError) -> String {
        for folder in (variable("PATH") ?? "/usr/bin:/bin").split(separator: ":") {
            let path = "\(folder)/\(name)"
            if access(path, X_OK) == 0 { return path }
        }
        throw HarnessError("\(name) is not installed: it is not along PATH")
    }

    /// Where the package's source lies.
    public static let packageFolder: String = {
        let parts = #filePath.split(separator: "/").dropLast(3)
        return "/" + parts.joined(separator: "/")
    }()

    private static func buildFolder() -> String {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
        let count = readlink("/proc/self/exe", &buffer, Int(PATH_MAX))
        let bytes = buffer[..<max(0, count)].map { UInt8(bitPattern: $0) }
        let parts = String(decoding: bytes, as: UTF8.self).split(separator: "/").dropLast()
        return "/" + parts.joined(separator: "/")
    }

    private static func variable(_ name: String) -> String? {
        getenv(name).map { String(cString: $0) }
    }

    private static func integer(_ name: String) -> Int? {
        guard let text = variable(name) else { return nil }
        guard let value = Int(text) else { preconditionFailure("\(name) must be a whole number, it is \(text)") }
        return value
    }
}
