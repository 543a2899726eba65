// The one error that leaves this package: what went wrong in the world, where, and what the operator can do.
//
// A library throws it, the role or the command prints or logs it once. It never carries user data or secrets:
// whoever makes one decides what is shown.

public import Logging

/// Something that the world did wrong. Our own mistakes are preconditions instead.
public struct Failure: Error, Hashable, Sendable {
    /// The status with which a command that cannot go on ends.
    public let code: ExitCode
    /// One sentence without a full stop: what happened, with the values that matter.
    public let what: String
    /// The file, line, address or flag that it is about.
    public let location: String?
    /// One or two sentences: what to do next.
    public let advice: String?
    /// Whether the reason may be that another folder, Redis or namespace was meant than the one that was looked at:
    /// whoever prints it says which that was.
    public let mayBeMisplaced: Bool

    public init(
        _ code: ExitCode, _ what: String, at location: String? = nil, advice: String? = nil,
        mayBeMisplaced: Bool = false
    ) {
        self.code = code
        self.what = what
        self.location = location
        self.advice = advice
        self.mayBeMisplaced = mayBeMisplaced
    }

    /// A system call that failed, as "cannot open: Permission denied".
    ///
    /// - Parameters:
    ///   - action: the verb after "cannot", such as "open".
    ///   - number: the value of errno, taken directly after the call.
    public init(
        cannot action: String, errno number: Int32, at location: String? = nil, code: ExitCode = .ioError,
        advice: String? = nil
    ) {
        self.init(code, "cannot \(action): \(SystemCall.text(ofErrno: number))", at: location, advice: advice)
    }

    /// What happened and where, in one sentence.
    public var sentence: String {
        guard let location else { return what }
        return "\(location): \(what)"
    }

    /// What a command prints to stderr: "tallymill: <sentence>", then the advice on a line of its own.
    public var report: String {
        guard let advice else { return "tallymill: \(sentence)" }
        return "tallymill: \(sentence)\n  \(advice)"
    }

    /// The parts as fields of a log line.
    public var metadata: Logger.Metadata {
        var fields: Logger.Metadata = ["exit_code": "\(code.rawValue)", "error": "\(what)"]
        if let location { fields["where"] = "\(location)" }
        if let advice { fields["advice"] = "\(advice)" }
        return fields
    }
}

extension Failure: CustomStringConvertible {
    public var description: String { sentence }
}
