// What the supervisor knows about a process that it keeps alive: how to start it, how it says that it works, and how
// it is asked to end. Nothing about what it does.
//
// A role says that it works by one line on its stdout, "ready <what>". Redis says nothing of the kind and is asked.

public import ServiceKit

/// A process to keep alive.
public struct Role {
    /// What it is for, which fixes when it is stopped.
    public enum Kind: Hashable, Sendable {
        case redis, consumer, web
    }

    /// How one knows that it works.
    public enum Readiness {
        /// A line on its stdout that begins with `Role.readyPrefix`.
        case line
        /// Asked every `Role.probeMilliseconds` until it answers true. Takes 100 ms at most.
        case probe(() -> Bool)
    }

    public static let readyPrefix = "ready "
    static let probeMilliseconds: UInt64 = 20

    /// As people call it: "consumer 2".
    public let name: String
    public let kind: Kind
    public let plan: ChildProcess.Plan
    public let readiness: Readiness
    /// Where its other lines go.
    public let log: LineSink
    /// The plan for the next start of a role that was ready once; gets the text after `readyPrefix`. A web node
    /// that let the system choose its port must come back on that port.
    public let replan: (ChildProcess.Plan, String) -> ChildProcess.Plan

    /// - Parameter plan: its outputs are replaced by pipes.
    public init(
        _ name: String, kind: Kind, plan: ChildProcess.Plan, readiness: Readiness = .line,
        log: LineSink = .standardError,
        replan: @escaping (ChildProcess.Plan, String) -> ChildProcess.Plan = { plan, _ in plan }
    ) {
        self.name = name
        self.kind = kind
        var plan = plan
        plan.output = .pipe
        plan.errorOutput = .pipe
        self.plan = plan
        self.readiness = readiness
        self.log = log
        self.replan = replan
    }
}
