// Processes that the tests start, and the commands whose end they wait for.
//
// Each is started by one thread that lives as long as the test run, through `setpriv --pdeathsig KILL`: when the
// run itself is killed, nothing stays behind. Signals go to one process number at a time, of a process that this
// harness started or found to be its child; nothing is ever looked up by name.

import Dispatch
import Glibc
public import ServiceKit

/// A process under test. Owned by one thread.
public final class RunningProcess {
    public let pid: Int32
    public let outputPath: String
    public let errorPath: String
    private let child: ChildProcess

    /// Starts a program whose output goes to `<log>.out` and `<log>.err`.
    ///
    /// - Parameter environment: beside what every child gets.
    public init(
        _ executable: String, _ arguments: [String], environment: [String: String] = [:], log: String
    ) throws(HarnessError) {
        outputPath = log + ".out"
        errorPath = log + ".err"
        let setpriv = try TestEnvironment.program("setpriv")
        var plan = ChildProcess.Plan(
            executable: setpriv, arguments: ["--pdeathsig", "KILL", "--", executable] + arguments,
            environment: TestEnvironment.childEnvironment.merging(environment) { _, given in given })
        plan.output = .file(outputPath)
        plan.errorOutput = .file(errorPath)
        child = try Launcher.shared.spawn(plan)
        pid = child.pid
    }

    public var output: String { Files.text(outputPath) }
    public var errorOutput: String { Files.text(errorPath) }

    /// How it ended, nil while it runs.
    public func poll() throws(HarnessError) -> ChildProcess.Ending? {
        do throws(Failure) { return try child.poll() } catch { throw HarnessError(error.sentence) }
    }

    /// Sends a signal to this process alone, if it still runs.
    public func send(_ signal: Int32) throws(HarnessError) {
        guard try poll() == nil else { return }
        guard kill(pid, signal) == 0 else { throw HarnessError(cannot: "send signal \(signal) to \(pid)") }
    }

    /// Waits for its end.
    public func waitForEnd(within seconds: Double) throws(HarnessError) -> ChildProcess.Ending {
        do throws(Failure) {
            if let ending = try child.wait(timeoutMilliseconds: Int(seconds * 1000)) { return ending }
        } catch {
            throw HarnessError(error.sentence)
        }
        throw HarnessError("process \(pid) still runs after \(seconds) s; its stderr: \(tail(errorOutput))")
    }

    /// Kills it, waiting for its end.
    public func kill9() throws(HarnessError) {
        try send(SIGKILL)
        _ = try waitForEnd(within: 10)  // how a killed process ended is known
    }
}

/// A command and what came of it.
public struct Command {
    public let code: Int32
    public let output: [UInt8]
    public let errorText: String

    public var outputText: String { String(decoding: output, as: UTF8.self) }

    /// Runs a command to its end.
    public static func run(_ executable: String, _ arguments: [String], within seconds: Double = 30)
        throws(HarnessError) -> Command
    {
        var template = Array("/tmp/tm-command-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw HarnessError(cannot: "make a folder under /tmp") }
        let folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer {
            unlink(folder + "/c.out")
            unlink(folder + "/c.err")
            rmdir(folder)
        }
        let process = try RunningProcess(executable, arguments, log: folder + "/c")
        let ending: ChildProcess.Ending
        do throws(HarnessError) {
            ending = try process.waitForEnd(within: seconds)
        } catch {
            try process.kill9()
            throw HarnessError("\(executable) \(arguments.joined(separator: " ")): \(error)")
        }
        guard case .code(let code) = ending else {
            throw HarnessError("\(executable) \(arguments.joined(separator: " ")) \(ending)")
        }
        return Command(code: code, output: Files.read(process.outputPath) ?? [], errorText: process.errorOutput)
    }

    /// Runs the product to its end, and looks at every command that it prints.
    public static func tallymill(_ arguments: [String], within seconds: Double = 30) throws(HarnessError) -> Command {
        let result = try run(TestEnvironment.binary(), arguments, within: seconds)
        // Of a command line that is wrong nobody knows what was given.
        if result.code != 64 {
            try PrintedCommands.check(result.outputText + "\n" + result.errorText, given: arguments)
        }
        return result
    }
}

/// The last lines of a text.
public func tail(_ text: String, lines: Int = 12) -> String {
    text.split(separator: "\n").suffix(lines).joined(separator: "\n")
}

/// The thread that starts every process.
private final class Launcher: Sendable {
    static let shared = Launcher()
    private let jobs = Mailbox<@Sendable () -> Void>()

    private init() {
        let jobs = jobs
        let thread = ServiceThread(name: "launcher") { while true { jobs.receive()() } }
        _ = thread  // it runs as long as the process: its end would kill what it started
    }

    func spawn(_ plan: ChildProcess.Plan) throws(HarnessError) -> ChildProcess {
        let handover = Handover()
        jobs.send {
            handover.result = Result { () throws(Failure) in try ChildProcess.spawn(plan) }
            handover.ready.signal()
        }
        handover.ready.wait()
        switch handover.result {
        case .success(let child): return child
        case .failure(let failure): throw HarnessError(failure.sentence)
        case nil: throw HarnessError("nothing was started")
        }
    }

    /// Written by the launcher before `ready` is signalled, read by the other side after it: never at once.
    private final class Handover: @unchecked Sendable {
        let ready = DispatchSemaphore(value: 0)
        var result: Result<ChildProcess, Failure>?
    }
}
