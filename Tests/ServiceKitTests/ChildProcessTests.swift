// Real children: what they start with, how they end, and that they do not outlive whom they should not.

import Glibc
import Testing

@testable import ServiceKit

@Suite struct ChildProcessTests {
    private func shell(_ script: String, environment: [String: String] = [:]) -> ChildProcess.Plan {
        var plan = ChildProcess.Plan(executable: "/bin/sh", arguments: ["-c", script], environment: environment)
        plan.output = .pipe
        return plan
    }

    @Test func endings() throws {
        #expect(try ChildProcess.spawn(shell("exit 0")).wait() == .code(0))
        let configuration = try ChildProcess.spawn(shell("exit 78"))
        #expect(try configuration.wait(timeoutMilliseconds: 20_000) == .code(78))
        #expect(configuration.ending?.exitCode == .configuration)
        #expect(configuration.ending?.exitCode?.isWorthRestarting == false)
        #expect("\(ChildProcess.Ending.code(78))" == "ended with code 78")
        let killed = try ChildProcess.spawn(shell("kill -9 $$"))
        #expect(try killed.wait() == .signal(SIGKILL))
        #expect(killed.ending?.exitCode == nil)
        #expect("\(ChildProcess.Ending.signal(9))" == "was killed by signal 9")
    }

    @Test func argumentsAndEnvironmentAreExact() throws {
        var plan = ChildProcess.Plan(
            executable: "/usr/bin/env", arguments: ["-0"], environment: ["B": "two words\nand a line", "A": ""])
        plan.output = .pipe
        let child = try ChildProcess.spawn(plan)
        #expect(try lines(child.output).joined(separator: "\n") == "A=\0B=two words\nand a line\0")
        let quoting = ChildProcess.Plan(
            executable: "/bin/sh", arguments: ["-c", "printf '%s|' \"$0\" \"$@\"", "zero", "a b", "", "*"])
        var piped = quoting
        piped.output = .pipe
        #expect(try lines(ChildProcess.spawn(piped).output) == ["zero|a b||*|"])
    }

    @Test func aChildStartsClean() throws {
        // The parent ignores SIGPIPE and blocks SIGUSR1 here; the child has neither.
        let previous = signal(SIGPIPE, SIG_IGN)
        var set = sigset_t()
        var old = sigset_t()
        sigemptyset(&set)
        sigaddset(&set, SIGUSR1)
        pthread_sigmask(SIG_BLOCK, &set, &old)
        defer {
            pthread_sigmask(SIG_SETMASK, &old, nil)
            signal(SIGPIPE, previous)
        }
        // A descriptor without close-on-exec: the child must not see it.
        let leaked = open("/dev/null", O_RDONLY)
        defer { close(leaked) }
        let child = try ChildProcess.spawn(
            shell(
                """
                grep -E 'SigBlk|SigIgn' /proc/self/status
                readlink /proc/self/fd/0
                ls /proc/self/fd | tr '\\n' ' '
                """))
        let found = try lines(child.output)
        #expect(found.first == "SigBlk:\t0000000000000000")
        // 31 signals of the standard, of which 1 << 12 is SIGPIPE; glibc ignores its own 32 and 33 in every spawn.
        let ignored = try #require(found.dropFirst().first?.split(separator: "\t").last)
        #expect(try #require(UInt64(ignored, radix: 16)) & 0x7FFF_FFFF == 0)
        #expect(found.dropFirst(2).first == "/dev/null")
        // 0, 1, 2, and 3 by which ls reads the folder.
        #expect(found.last?.split(separator: " ").count == 4)
    }

    @Test func aChildLeadsAProcessGroup() throws {
        // The shell starts a grandchild; the signal to the group ends both.
        let child = try ChildProcess.spawn(shell("sleep 1000 & echo $!; wait"))
        let grandchild = try #require(try lines(child.output, count: 1).first.flatMap { Int32($0) })
        #expect(getpgid(child.pid) == child.pid)
        #expect(getpgid(grandchild) == child.pid)
        #expect(child.pid != getpgid(0))
        #expect(try child.poll() == nil)
        #expect(try child.wait(timeoutMilliseconds: 0) == nil)
        #expect(try child.send(SIGTERM))
        #expect(try child.wait(timeoutMilliseconds: 20_000) == .signal(SIGTERM))
        #expect(eventually { !isRunning(grandchild) })
        #expect(try child.send(SIGTERM) == false)
        #expect(try child.poll() == .signal(SIGTERM))
    }

    @Test func outputToFilesAndNowhere() throws {
        try withFolder { folder throws in
            var plan = shell("echo out; echo err >&2")
            plan.output = .file("\(folder)/log")
            plan.errorOutput = .file("\(folder)/log")
            #expect(try ChildProcess.spawn(plan).wait() == .code(0))
            plan.output = .null
            #expect(try ChildProcess.spawn(plan).wait() == .code(0))
            #expect(try content("\(folder)/log") == "out\nerr\nerr\n")
            plan.errorOutput = .file("\(folder)/none/log")
            let error = #expect(throws: Failure.self) { try ChildProcess.spawn(plan) }
            #expect(error == Failure(.ioError, "cannot open: No such file or directory", at: "\(folder)/none/log"))
        }
    }

    @Test func aParentWithoutStdin() throws {
        // The output file is descriptor 0 in such a parent; it must become the child's 1 before 0 is /dev/null.
        try withFolder { folder in
            let path = "\(folder)/log"
            let script = "exec \"$0\" echo \"$1\" <&-"
            let parent = try ChildProcess.spawn(
                .init(executable: "/bin/sh", arguments: ["-c", script, try probePath(), path]))
            #expect(try parent.wait() == .code(0))
            #expect(try content(path) == "hello\n")
        }
    }

    @Test func aProgramThatIsMissing() {
        let error = #expect(throws: Failure.self) { try ChildProcess.spawn(.init(executable: "/nonexistent/tool")) }
        #expect(
            error?.report == """
                tallymill: /nonexistent/tool: cannot start the program: No such file or directory
                  Is it installed, and may it be executed?
                """)
        #expect(error?.code == .failure)
    }

    @Test func linesComeWholeAndBounded() throws {
        let most = LineReader.lineBytesMax
        let child = try ChildProcess.spawn(
            shell(
                """
                printf 'a\\n\\nb'; printf 'c\\n'
                head -c \(most) /dev/zero | tr '\\0' x; echo
                head -c \(most + 1) /dev/zero | tr '\\0' y; printf '\\n\\377end'
                """))
        let found = try lines(child.output)
        #expect(found.prefix(3) == ["a", "", "bc"])
        #expect(found.dropFirst(3).map(\.utf8.count) == [most, most, 1, 6])
        #expect(found.last == "\u{FFFD}end")
    }

    @Test func readingNeverBlocks() throws {
        let child = try ChildProcess.spawn(shell("printf part; read x < /dev/zero"))
        let reader = try #require(child.output)
        #expect(try reader.wait(timeoutMilliseconds: 20_000))
        #expect(try reader.readAvailable() == [])
        #expect(try reader.readAvailable() == [])
        #expect(!reader.isAtEnd)
        try child.send(SIGKILL)
        #expect(try lines(reader) == ["part"])
        #expect(try child.wait() == .signal(SIGKILL))
    }
}

@Suite struct ParentDeathTests {
    @Test func aRoleDiesWithItsParent() throws {
        let parent = try startProbe(["parent", try probePath()])
        let words = try #require(try lines(parent.output, count: 1).first).split(separator: " ")
        #expect(words.first == "armed")
        let role = try #require(words.last.flatMap { Int32($0) })
        #expect(isRunning(role))
        // The parent alone, as `kill -9` does: the role leads a group of its own.
        #expect(kill(parent.pid, SIGKILL) == 0)
        #expect(try parent.wait() == .signal(SIGKILL))
        #expect(eventually { !isRunning(role) })
    }

    @Test func aRoleWhoseParentIsGoneDoesNotStart() throws {
        let gone = try ChildProcess.spawn(.init(executable: "/bin/true"))
        #expect(try gone.wait() == .code(0))
        let child = try startProbe(["orphan"], environment: [ParentDeath.variable: "\(gone.pid)"])
        #expect(
            try lines(child.output) == ["failed process \(gone.pid), which started this one, has already ended"])
        #expect(try child.wait() == .code(69))
    }

    @Test func withoutTheVariableNothingHappens() throws {
        #expect(try ParentDeath.arm(environment: [:]) == false)
        for text in ["", "x", "0", "-1", "4294967296", "01"] {
            let error = #expect(throws: Failure.self) { try ParentDeath.arm(environment: [ParentDeath.variable: text]) }
            #expect(
                error?.sentence == "TALLYMILL_PARENT_PID in the environment is \"\(text)\": must be a process number")
            #expect(error?.code == .configuration)
        }
        #expect(ParentDeath.variableForChildren == ["TALLYMILL_PARENT_PID": "\(getpid())"])
    }
}

@Suite struct SignalTests {
    @Test func signalsAreCounted() throws {
        let child = try startProbe(["signals"])
        #expect(try lines(child.output, count: 1) == ["waiting"])
        for (signal, line) in [(SIGHUP, "hangup 0"), (SIGTERM, "terminate 1"), (SIGHUP, "hangup 1")] {
            try child.send(signal)
            #expect(try lines(child.output, count: 1) == [line])
        }
        try child.send(SIGINT)
        #expect(try lines(child.output, count: 1) == ["interrupt 2"])
        #expect(try child.wait() == .code(3))
    }

    @Test func waitingHasABound() throws {
        var old = sigset_t()
        pthread_sigmask(SIG_BLOCK, nil, &old)
        let previous = signal(SIGPIPE, SIG_DFL)
        defer {
            pthread_sigmask(SIG_SETMASK, &old, nil)
            signal(SIGPIPE, previous)
        }
        let waiter = try SignalWaiter()
        #expect(try waiter.wait(timeoutMilliseconds: 0) == nil)
        pthread_kill(pthread_self(), SIGTERM)
        #expect(try waiter.wait(timeoutMilliseconds: 20_000) == SignalEvent(kind: .terminate, stopRequests: 1))
        #expect(try waiter.wait(timeoutMilliseconds: 1) == nil)
    }
}
