// What a process leaves behind for others: its files, and an image of its memory when it crashes.

import ClusterSupport
import TestSupport
import Testing

extension ClusterTests {
    @Suite struct ProcessLimitsTests {
        private static func line(_ name: String, of pid: Int32, in file: String) -> [Substring] {
            let lines = Files.text("/proc/\(pid)/\(file)").split(separator: "\n")
            return lines.first { $0.hasPrefix(name) }?.dropFirst(name.count).split(separator: " ") ?? []
        }

        /// Looked at while it waits for a Redis that is not there.
        @Test func bothAreKeptFromOthers() throws {
            try ClusterTests.inFolder("limits") { folder in
                let script = #"umask 000; ulimit -S -c unlimited; exec "$0" web --redis "unix://$1/nobody""#
                let process = try RunningProcess(
                    "/bin/sh", ["-c", script, try TestEnvironment.binary(), folder.path], log: "\(folder.path)/web")
                let isClosed = waitUntil {
                    Self.line("Umask:\t", of: process.pid, in: "status") == ["0027"]
                        && Self.line("Max core file size", of: process.pid, in: "limits").first == "0"
                }
                let seen = Files.text("/proc/\(process.pid)/limits")
                try process.kill9()
                try ClusterTests.check(isClosed, "files or images are left for others: \(seen)")
            }
        }
    }
}
