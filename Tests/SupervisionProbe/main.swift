// The other process of Supervision's tests: a cluster of fake roles that can be signalled and killed.
//
//     supervision-probe up FOLDER [--redis] [ROLE...]   runs a cluster; ROLE is web, consumer or a consumer's script
//     supervision-probe role NAME FOLDER                a role: ready at once, ends at SIGTERM
//     supervision-probe lock FOLDER                     takes the lock of an `up`, prints what came of it, waits
//
// What happens, in its order, is appended to FOLDER/trace: "web start PID", "web end", "initialise", "total".
// FOLDER/waiting holds the number of batches that wait; without the file there is none. FOLDER/stubborn makes web
// nodes ignore SIGTERM.

import Glibc
import Logging
import ServiceKit
import Supervision

let environment: [String: String] = {
    var found: [String: String] = [:]
    for name in ["PATH", "XDG_RUNTIME_DIR", ParentDeath.variable] {
        if let value = getenv(name) { found[name] = String(cString: value) }
    }
    return found
}()

func say(_ text: String) { LineSink.standardOutput.write(text) }

func trace(_ text: String, _ folder: String) throws(Failure) {
    try LineSink(appendingTo: "\(folder)/trace", maximumBytes: .max).write(text)
}

func number(in path: String) throws(Failure) -> Int? {
    guard let bytes = try FileContent.readIfPresent(path, maximumBytes: 100) else { return nil }
    return Int(String(decoding: bytes, as: UTF8.self))
}

func role(_ name: String, _ folder: String) throws(Failure) {
    let signals = try SignalWaiter()
    try ParentDeath.arm(environment: environment)
    try trace("\(name) start \(getpid())", folder)
    say("ready http://\(name):3333")
    LineSink.standardError.write("\(name) speaks")
    while try signals.wait() != nil, access("\(folder)/stubborn", F_OK) == 0, name == "web" {}
    try trace("\(name) end", folder)
}

func fakeRole(_ text: String, _ folder: String, _ index: Int) throws(Failure) -> Role {
    let variables = ParentDeath.variableForChildren
    if text == "web" || text == "consumer" {
        let name = text == "web" ? "web" : "consumer \(index)"
        return Role(
            name, kind: text == "web" ? .web : .consumer,
            plan: .init(executable: try Programs.own(), arguments: ["role", name, folder], environment: variables))
    }
    return Role(
        "consumer \(index)", kind: .consumer,
        plan: .init(executable: "/bin/sh", arguments: ["-c", text, folder], environment: variables))
}

func up(_ folderPath: String, _ arguments: [String]) throws(Failure) -> ExitCode {
    let signals = try SignalWaiter()
    let folder = try UpFolder.acquire(dataFolder: folderPath)
    return try withExtendedLifetime(folder) { () throws(Failure) in
        let redis = arguments.contains("--redis") ? try PrivateRedis(in: folder, environment: environment) : nil
        if let redis { try folder.publish(socket: redis.socketPath) }
        let roles = arguments.filter { $0 != "--redis" }
        let hooks = ClusterHooks(
            initialise: { () throws(Failure) in
                if access("\(folderPath)/unfit", F_OK) == 0 { throw Failure(.configuration, "this folder is unfit") }
                try trace("initialise", folderPath)
            },
            roles: { () throws(Failure) in
                var made: [Role] = []
                for (index, text) in roles.enumerated() { made.append(try fakeRole(text, folderPath, index)) }
                return made
            },
            waitingBatches: { () throws(Failure) in
                try trace("asked", folderPath)
                return try number(in: "\(folderPath)/waiting") ?? 0
            },
            total: { () throws(Failure) in
                try trace("total", folderPath)
                return "total 42"
            },
            readyText: { "up at \($0)" })
        let log = LogOutput(format: .text, level: .notice)
        return ClusterRun(redis: redis?.role, hooks: hooks, signals: signals, logger: log.logger("up")).run()
    }
}

func run(_ arguments: [String]) throws(Failure) -> ExitCode {
    switch arguments.first {
    case "up": return try up(arguments[1], Array(arguments.dropFirst(2)))
    case "role": try role(arguments[1], arguments[2])
    case "lock":
        let folder = try UpFolder.acquire(dataFolder: arguments[1])
        say("acquired")
        withExtendedLifetime(folder) { while true { pause() } }
    default: return .usage
    }
    return .ok
}

do throws(Failure) {
    exit(try run(Array(CommandLine.arguments.dropFirst())).rawValue)
} catch {
    LineSink.standardError.write(error.report)
    exit(error.code.rawValue)
}
