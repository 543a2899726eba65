// The other process of Supervision's tests: a cluster of fake roles that can be signalled and killed.
//
//     supervision-probe up FOLDER [--redis] [ROLE...]   runs a cluster; ROLE is web, consumer or a consumer's script
//     supervision-probe role NAME FOLDER                a role: ready at once, ends at SIGTERM
//     supervision-probe lock FOLDER                     takes the lock of an `up`, prints what came of it, waits
//     supervision-probe hold FOLDER REASON              holds the consumers, prints "held", gives them back at SIGTERM
//
// What happens, in its order, is appended to FOLDER/trace: "web start PID", "web end", "initialise", "total".
// FOLDER/waiting holds the number of batches that wait; without the file there is none. FOLDER/stubborn makes web
// nodes ignore SIGTERM. FOLDER/cluster says what a cluster file would, "EPOCH K ready" or "EPOCH K building", and then
// there are K consumers that do nothing; without it, the epoch is 1 and the consumers are those of the command line.

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
    // A script cannot ask for a signal at its parent's end, and one that ignores SIGTERM would outlive a killed probe.
    return Role(
        "consumer \(index)", kind: .consumer,
        plan: .init(
            executable: try Programs.find("setpriv", package: "util-linux", environment: environment),
            arguments: ["--pdeathsig", "KILL", "--", "/bin/sh", "-c", text, folder], environment: variables))
}

func clusterState(_ folder: String, consumers: Int) throws(Failure) -> ClusterState {
    if access("\(folder)/unreadable", F_OK) == 0 { throw Failure(.configuration, "this is no cluster file") }
    guard let bytes = try FileContent.readIfPresent("\(folder)/cluster", maximumBytes: 100) else {
        return ClusterState(epoch: 1, partitions: consumers, isBuilding: false)
    }
    let words = String(decoding: bytes, as: UTF8.self).split(separator: " ")
    guard words.count == 3, let epoch = UInt32(words[0]), let partitions = Int(words[1]) else {
        throw Failure(.usage, "the file says EPOCH K ready or EPOCH K building", at: "\(folder)/cluster")
    }
    return ClusterState(epoch: epoch, partitions: partitions, isBuilding: words[2] == "building")
}

func hold(_ folder: String, _ reason: String) throws(Failure) {
    let signals = try SignalWaiter()
    guard let hold = try ConsumerHold.take(dataFolder: folder, reason: reason, waitingMilliseconds: 20_000) else {
        return say("nobody runs")
    }
    say("held")
    _ = try signals.wait()  // any signal will do
    say(try hold.release(waitingMilliseconds: 20_000))
}

func up(_ folderPath: String, _ arguments: [String]) throws(Failure) -> ExitCode {
    let signals = try SignalWaiter()
    let folder = try UpFolder.acquire(dataFolder: folderPath)
    return try withExtendedLifetime(folder) { () throws(Failure) in
        let redis = arguments.contains("--redis") ? try PrivateRedis(in: folder, environment: environment) : nil
        if let redis { try folder.publish(socket: redis.socketPath) }
        let control = try folder.openControl(environment: environment)
        let given = arguments.filter { $0 != "--redis" && $0 != "web" }
        let hooks = ClusterHooks(
            initialise: { () throws(Failure) in
                if access("\(folderPath)/unfit", F_OK) == 0 { throw Failure(.configuration, "this folder is unfit") }
                try trace("initialise", folderPath)
            },
            state: { () throws(Failure) in try clusterState(folderPath, consumers: given.count) },
            consumers: { state throws(Failure) in
                let isWritten = access("\(folderPath)/cluster", F_OK) == 0
                let texts = isWritten ? Array(repeating: "consumer", count: state.partitions) : given
                var made: [Role] = []
                for (index, text) in texts.enumerated() { made.append(try fakeRole(text, folderPath, index)) }
                return made
            },
            web: { () throws(Failure) in try fakeRole("web", folderPath, 0) },
            waitingBatches: { () throws(Failure) in
                try trace("asked", folderPath)
                return try number(in: "\(folderPath)/waiting") ?? 0
            },
            total: { () throws(Failure) in
                try trace("total", folderPath)
                return "total 42"
            },
            readyText: { "up at \($0)" + ($1.epoch > 1 ? " in epoch \($1.epoch)" : "") },
            unfinishedText: { "epoch \($0.epoch) with \($0.partitions) partitions is unfinished" })
        let log = LogOutput(format: .text, level: .notice)
        return ClusterRun(
            redis: redis?.role, control: control, hooks: hooks, signals: signals, logger: log.logger("up")
        ).run()
    }
}

func run(_ arguments: [String]) throws(Failure) -> ExitCode {
    switch arguments.first {
    case "up": return try up(arguments[1], Array(arguments.dropFirst(2)))
    case "role": try role(arguments[1], arguments[2])
    case "hold": try hold(arguments[1], arguments[2])
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
