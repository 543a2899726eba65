// `scale`, `doctor` and `top` as an operator runs them: what they print, with which exit codes, and for `top` a real
// terminal, which it has to leave as it was, whether a key ends it or SIGTERM.
//
// The terminal is made by util-linux' `script`, whose input is a named pipe: what the test writes there is typed.

import ClusterSupport
import Glibc
import ServiceKit
import Testing

extension ClusterTests {
    @Suite struct OperatorCommandTests {
        // MARK: scale

        /// Printed without --apply, run with it, nothing left to do after that.
        @Test func scaleStartsWhatIsMissing() throws {
            try ClusterTests.withPieces("scale") { cluster in
                let programs = try fakeSystemctl(in: cluster.folder.path)
                let printed = try scale(cluster, programs, [])
                let commands = (0..<4).map { "systemctl enable --now tallymill-consumer@\($0).service" }
                try ClusterTests.check(
                    printed.code == 0 && lines(printed.outputText) == commands, printed.outputText + printed.errorText)
                try ClusterTests.check(
                    printed.errorText == "tallymill: epoch 1, partitions 0-3 of 4: 4 to start, 0 to stop; nothing was"
                        + " done: --apply runs these commands\n", printed.errorText)
                let applied = try scale(cluster, programs, ["--apply"])
                try ClusterTests.check(
                    applied.code == 0 && lines(applied.outputText) == commands.map { "\($0): done" },
                    applied.outputText + applied.errorText)
                let again = try scale(cluster, programs, ["--apply"])
                try ClusterTests.check(
                    again.code == 0
                        && again.outputText == "epoch 1, partitions 0-3 of 4: every consumer is enabled and"
                            + " running, none is too many\n",
                    again.outputText + again.errorText)
                let fewer = try scale(cluster, programs, ["--partitions", "0-1", "--format", "json"])
                try ClusterTests.check(
                    fewer.outputText.contains(#"{"command":"systemctl disable --now tallymill-consumer@2.service"}"#),
                    fewer.outputText)
            }
        }

        @Test func scaleRefuses() throws {
            try ClusterTests.withPieces("scale-no") { cluster in
                let programs = try fakeSystemctl(in: cluster.folder.path)
                let outside = try scale(cluster, programs, ["--partitions", "4"])
                try ClusterTests.check(
                    outside.code == 78 && outside.errorText.contains("Its partitions are 0 to 3."), outside.errorText)
                let without = try scale(cluster, "/none", [])
                try ClusterTests.check(
                    without.code == 69 && without.errorText.contains("there is no systemctl along PATH"),
                    without.errorText)
            }
        }

        private func scale(
            _ cluster: ManualCluster, _ programs: String, _ options: [String]
        ) throws(HarnessError) -> Command {
            let binary = try TestEnvironment.binary()
            // `env` is named by its path, so that PATH can be whatever the test wants.
            return try Command.run(
                "/usr/bin/env", ["PATH=\(programs)", binary, "scale", "--data-dir", cluster.dataFolder] + options)
        }

        /// A systemctl that keeps links and a list of what runs; the folder for PATH.
        private func fakeSystemctl(in folder: String) throws(HarnessError) -> String {
            let script = #"""
                #!/bin/sh
                PATH=/usr/bin:/bin
                shift
                for unit; do :; done
                case "$1" in
                show) echo '\#(folder)/units' ;;
                list-units) cat '\#(folder)/running' ;;
                enable)
                    ln -s x "\#(folder)/units/a.wants/$unit"
                    echo "$unit loaded active running x" >> '\#(folder)/running' ;;
                *) exit 1 ;;
                esac
                """#
            for name in ["bin", "units", "units/a.wants"] { try Files.makeFolder("\(folder)/\(name)") }
            try Files.write([], to: "\(folder)/running")
            try Files.write([], to: "\(folder)/units/tallymill-consumer@.service")
            try Files.write(Array(script.utf8), to: "\(folder)/bin/systemctl")
            chmod("\(folder)/bin/systemctl", 0o755)
            return "\(folder)/bin"
        }

        private func lines(_ text: String) -> [String] { text.split(separator: "\n").map(String.init) }

        // MARK: doctor

        /// A cluster in which everything runs has no errors; without its Redis it is told what is wrong, and the rest
        /// is looked at all the same.
        @Test func doctorOfALivingAndADeadCluster() throws {
            try ClusterTests.withPieces("doctor") { cluster in
                try cluster.startConsumer("0-3")
                try eventually("every partition has a consumer", within: 20) { () throws(HarnessError) in
                    try doctor(cluster).outputText.contains("\nok       consumers: every partition has one\n")
                }
                let healthy = try doctor(cluster)
                let text = healthy.outputText
                // What is left depends on the machine of the test: its kernel, its disk, its limits.
                let expected = healthy.outputText.contains("WARNING") ? 3 : 0
                try ClusterTests.check(healthy.code == Int32(expected) && !text.contains("ERROR"), text)
                try ClusterTests.check(text.contains("checks: 0 errors, "), text)
                try cluster.killRedis()
                let dead = try doctor(cluster)
                try ClusterTests.check(dead.code == 3, dead.outputText)
                for word in [
                    "ERROR    redis-connection: cannot reach Redis at unix://",
                    "redis-cli -s \(cluster.folder.path)/redis.sock PING", "ok       shards: partitions 0-3 are here",
                    "skipped  queues: Redis cannot be asked",
                ] {
                    try ClusterTests.check(dead.outputText.contains(word), "`\(word)` is not in: \(dead.outputText)")
                }
                let json = try Command.tallymill(["doctor", "--format", "json"] + cluster.place)
                try ClusterTests.check(
                    try JSONTree(json.output)["errors"]?.integer() ?? 0 >= 1, json.outputText + json.errorText)
            }
        }

        private func doctor(_ cluster: ManualCluster) throws(HarnessError) -> Command {
            try Command.tallymill(["doctor"] + cluster.place)
        }

        /// A password in a file that everybody may read.
        @Test func doctorLooksAfterSecrets() throws {
            try ClusterTests.inFolder("doctor-secret") { folder in
                let config = folder.path + "/tallymill.conf"
                let text = "TALLYMILL_REDIS=redis://:secret-word@127.0.0.1:1\nTALLYMILL_DATA_DIR=\(folder.path)/data\n"
                try Files.write(Array(text.utf8), to: config)
                chmod(config, 0o644)
                let result = try Command.tallymill(["doctor", "--config", config])
                let said = result.outputText + result.errorText
                try ClusterTests.check(
                    said.contains("secrets: \(config) holds a URL with the password of Redis, and everybody on this")
                        && said.contains("$ chmod o-rwx \(config)"), said)
                try ClusterTests.check(!said.contains("secret-word"), "the password is shown")
            }
        }

        // MARK: top

        @Test func topInAPipe() throws {
            try ClusterTests.withUp("top") { cluster in
                let place = ["--data-dir", cluster.dataFolder]
                try ClusterTests.post(cluster.port, #"{"a":1,"b":2,"c":3}"#)
                let once = try Command.tallymill(["top", "--once", "--interval", "200ms"] + place)
                try ClusterTests.check(once.code == 0, once.errorText)
                for word in ["tallymill  epoch 1, 4 partitions", "PART   OUT/S", "127.0.0.1:\(cluster.port)", "ready"] {
                    try ClusterTests.check(once.outputText.contains(word), "`\(word)` is not in: \(once.outputText)")
                }
                let json = try Command.tallymill(
                    ["top", "--format", "json", "--count", "2", "--interval", "200ms"] + place)
                let rows = json.outputText.split(separator: "\n").map { Array($0.utf8) }
                try ClusterTests.check(json.code == 0 && rows.count == 2, json.outputText + json.errorText)
                for row in rows {
                    let tree = try JSONTree(row)
                    try ClusterTests.check(
                        tree["partitions"]?.elements.count == 4 && tree["nodes"]?.elements.count == 1
                            && tree["problems"]?.elements.isEmpty == true, json.outputText)
                }
            }
        }

        @Test func topOnATerminal() throws {
            try ClusterTests.withUp("top-tty") { cluster in
                try ClusterTests.post(cluster.port, #"{"a":1,"b":2,"c":3}"#)
                for byKey in [true, false] {
                    let screen = try Typescript(
                        cluster.folder.path + (byKey ? "/key" : "/signal"),
                        // One reading is all that it takes: every later screen comes from a key or a signal.
                        command:
                            "exec \(try TestEnvironment.binary()) top --interval 1h --data-dir \(cluster.dataFolder)"
                    )
                    try eventually("`top` shows the node", within: 20) { () throws(HarnessError) in
                        if let ending = try screen.process.poll() {
                            throw HarnessError("`top` \(ending): \(screen.text) \(screen.process.errorOutput)")
                        }
                        return screen.text.contains("127.0.0.1:\(cluster.port)") && screen.text.contains("ready")
                    }
                    try ClusterTests.check(screen.text.hasPrefix("\u{1B}[?1049h\u{1B}[?25l\u{1B}[H"), screen.text)
                    let top = ProcessTable.children(of: screen.process.pid).first { $0.arguments.contains("top") }
                    guard let top else { throw HarnessError("`top` is no child of its terminal") }
                    if byKey {
                        try screen.resize(of: top.pid, columns: 40, rows: 10)
                        try eventually("the narrow screen has fewer columns", within: 10) {
                            screen.text.contains("IN/S   HELD  STATE")
                        }
                        try screen.type("s")
                        try eventually("the order changes", within: 10) { screen.text.contains("s sort by lag") }
                        try screen.type("q")
                    } else {
                        kill(top.pid, SIGTERM)
                    }
                    let ending = try screen.process.waitForEnd(within: 10)
                    try ClusterTests.check(ending == .code(0), "`top` \(ending)")
                    // Nothing is written after the terminal was given back.
                    try ClusterTests.check(screen.text.hasSuffix("\u{1B}[0m\u{1B}[?25h\u{1B}[?1049l"), screen.text)
                }
            }
        }
    }
}

/// A command on a terminal of its own. Owned by one thread.
private final class Typescript {
    let process: RunningProcess
    private let keyboard: Int32
    private let record: String

    /// - Parameter path: where its files go.
    init(_ path: String, command: String) throws(HarnessError) {
        record = path + ".typescript"
        let pipe = path + ".keys"
        guard mkfifo(pipe, 0o600) == 0 else { throw HarnessError("cannot make a named pipe") }
        // For reading, too, so that neither side waits for the other to open it.
        keyboard = open(pipe, O_RDWR | O_CLOEXEC)
        guard keyboard >= 0 else { throw HarnessError("cannot open \(pipe)") }
        let script = try TestEnvironment.program("script")
        process = try RunningProcess(
            "/bin/sh", ["-c", "exec \(script) -qefc '\(command)' '\(record)' < '\(pipe)'"], log: path)
    }

    deinit { close(keyboard) }

    func type(_ keys: String) throws(HarnessError) {
        let bytes = Array(keys.utf8)
        guard write(keyboard, bytes, bytes.count) == bytes.count else { throw HarnessError("cannot type") }
    }

    /// Gives the terminal of a process another size.
    func resize(of pid: Int32, columns: UInt16, rows: UInt16) throws(HarnessError) {
        let terminal = open("/proc/\(pid)/fd/1", O_RDWR | O_NOCTTY | O_CLOEXEC)
        guard terminal >= 0 else { throw HarnessError("cannot open the terminal of process \(pid)") }
        defer { close(terminal) }
        var size = winsize(ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0)
        guard ioctl(terminal, UInt(TIOCSWINSZ), &size) == 0 else { throw HarnessError("cannot resize the terminal") }
    }

    /// What the terminal has received, without the first and last line, which `script` adds to its record.
    var text: String {
        let all = Files.text(record)
        guard let start = all.firstIndex(of: "\u{1B}"), let end = all.lastIndex(of: "\u{1B}") else { return "" }
        let rest = all[end...]
        // The last sequence ends with a letter.
        let last = rest.dropFirst().firstIndex { $0.isLetter } ?? rest.index(before: rest.endIndex)
        return String(all[start...last])
    }
}
