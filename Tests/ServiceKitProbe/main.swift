// The other process of ServiceKit's tests: does one thing with the real system and says on stdout what came of it.
//
//     servicekit-probe lock PATH          takes the lock, prints "acquired" or "held PID", waits for its end
//     servicekit-probe orphan             arms ParentDeath from the environment, prints "armed PID", waits
//     servicekit-probe signals            prints each signal with its number of stop requests; ends at the second
//     servicekit-probe parent PATH        starts "PATH orphan", prints what that prints, waits
//     servicekit-probe write PATH         replaces a file's content by "new"
//     servicekit-probe echo PATH          starts a child that prints "hello" to a file
//     servicekit-probe log FORMAT         logs one line to stderr

import Glibc
import Logging
import ServiceKit

func say(_ text: String) {
    print(text)
    fflush(nil)
}

func variables() -> [String: String] {
    var found: [String: String] = [:]
    for name in [ParentDeath.variable] {
        if let value = getenv(name) { found[name] = String(cString: value) }
    }
    return found
}

func waitForEver() -> Never {
    while true { pause() }
}

func run(_ arguments: [String]) throws -> Never {
    switch arguments.first {
    case "lock":
        let attempt = try FileLock.attempt(arguments[1])
        switch attempt {
        case .acquired: say("acquired \(getpid())")
        case .held(let pid): say("held \(pid.map { "\($0)" } ?? "?")")
        }
        withExtendedLifetime(attempt) { waitForEver() }
    case "orphan":
        try ParentDeath.arm(environment: variables())
        say("armed \(getpid())")
        waitForEver()
    case "parent":
        var plan = ChildProcess.Plan(
            executable: arguments[1], arguments: ["orphan"], environment: ParentDeath.variableForChildren)
        plan.output = .inherit
        let child = try ChildProcess.spawn(plan)
        withExtendedLifetime(child) { waitForEver() }
    case "signals":
        let waiter = try SignalWaiter()
        say("waiting")
        while true {
            guard let event = try waiter.wait() else { continue }
            say("\(event.kind) \(event.stopRequests)")
            if event.stopRequests == 2 { exit(ExitCode.partial.rawValue) }
        }
    case "write":
        try AtomicFile.write(Array("new".utf8), to: arguments[1])
        exit(ExitCode.ok.rawValue)
    case "echo":
        var plan = ChildProcess.Plan(executable: "/bin/echo", arguments: ["hello"])
        plan.output = .file(arguments[1])
        let ending = try ChildProcess.spawn(plan).wait()
        exit(ending?.exitCode?.rawValue ?? ExitCode.failure.rawValue)
    case "log":
        let output = LogOutput(format: .init(rawValue: arguments[1]) ?? .text, level: .info)
        output.logger("probe").info("hello", metadata: ["note": "two words"])
        exit(ExitCode.ok.rawValue)
    default:
        exit(ExitCode.usage.rawValue)
    }
}

do {
    try run(Array(CommandLine.arguments.dropFirst()))
} catch {
    say("failed \(error)")
    exit((error as? Failure)?.code.rawValue ?? ExitCode.failure.rawValue)
}
