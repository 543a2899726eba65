// How Tallymill's own roles are started: this very program with another command, and its settings in the environment,
// because a command line can be read by every user of the machine.

public import ServiceKit

/// The plans of the web node and the consumers.
public struct RolePlans {
    /// More partitions than this share processes.
    public static let consumerProcessesMax = 16

    private let settings: Settings
    private let executable: String
    private let logFormat: LogOutput.Format
    private let environment: [String: String]

    /// - Parameters:
    ///   - dataFolder: from the root.
    ///   - socketPath: of the private Redis; nil leaves `--redis` as it was given.
    ///   - logFormat: the children's, whose lines go through this process to its own stderr.
    ///   - environment: of this process.
    public init(
        settings: Settings, executable: String, dataFolder: String, socketPath: String?, logFormat: LogOutput.Format,
        environment: [String: String]
    ) {
        self.settings = settings
        self.logFormat = logFormat
        self.executable = executable
        var variables = Self.foreignVariables(environment)
        variables.merge(ParentDeath.variableForChildren) { _, new in new }
        variables[Setting.dataDir.variable] = dataFolder
        if let socketPath { variables[Setting.redis.variable] = "unix://\(socketPath)" }
        self.environment = variables
    }

    /// The variables that are neither ours nor meant for this process alone: a child that talked to systemd with
    /// the socket of `up` would be taken for it.
    static func foreignVariables(_ environment: [String: String]) -> [String: String] {
        let supervision: Set = [
            "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES",
            "MAINPID", "MANAGERPID", "STATE_DIRECTORY", "JOURNAL_STREAM",
        ]
        return environment.filter { !$0.key.hasPrefix(Setting.variablePrefix) && !supervision.contains($0.key) }
    }

    /// The web node. If the system chose its port, it keeps that one.
    public func web() -> Role {
        let listen = settings.endpoint(.listen)
        var plan = plan(.web, ["web"])
        // A port that the system chose has no neighbour that is known to be free.
        if listen.port == 0 { plan.environment[Setting.adminPort.variable] = "0" }
        return Role("web", kind: .web, plan: plan) { plan, address in
            guard listen.port == 0, let found = Self.port(of: address) else { return plan }
            var plan = plan
            plan.environment[Setting.listen.variable] = "\(Endpoint(host: listen.host, port: found))"
            return plan
        }
    }

    /// One process a partition, or, of many partitions, one process for several neighbours.
    public func consumers(partitions: Int) -> [Role] {
        let processes = min(partitions, Self.consumerProcessesMax)
        return (0..<processes).map { index in
            let first = partitions * index / processes
            let last = partitions * (index + 1) / processes - 1
            let range = first == last ? "\(first)" : "\(first)-\(last)"
            var plan = plan(.consume, ["consume", "--partitions", range])
            // A number is the web node's port. 0, for a second cluster on this machine, is everybody's: consumers have
            // no addresses of their own that would differ.
            if settings.optionalInteger(.adminPort) != 0 { plan.environment[Setting.adminPort.variable] = nil }
            return Role("consumer \(range)", kind: .consumer, plan: plan)
        }
    }

    /// The settings first: the data folder and the socket are as this `up` has them.
    private func plan(_ command: CommandName, _ arguments: [String]) -> ChildProcess.Plan {
        var variables = settings.variables(for: command).merging(environment) { _, ours in ours }
        // A pipe cannot tell who reads at its other end.
        variables[Setting.logFormat.variable] = logFormat == .json ? "json" : "text"
        var plan = ChildProcess.Plan(executable: executable, arguments: arguments, environment: variables)
        plan.keepsSignals = true
        return plan
    }

    /// The port at the end of the URL with which a web node's report begins.
    static func port(of address: String) -> Int? {
        let address = ReadyText.url(in: address)
        guard let colon = address.lastIndex(of: ":") else { return nil }
        return Int(address[address.index(after: colon)...]).flatMap { (1...65535).contains($0) ? $0 : nil }
    }
}
