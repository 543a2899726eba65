// Where commands write: results to stdout, everything else to stderr; and what they need of the process.

import Glibc
import Logging
import ServiceKit
import Synchronization

enum Output {
    /// A line of a result.
    static func line(_ text: String) {
        write(Array((text + "\n").utf8), to: STDOUT_FILENO)
    }

    /// Text for a person, whose commands can be pasted.
    static func told(_ text: String, to descriptor: Int32 = STDOUT_FILENO) {
        write(Array((Session.current?.given.completing(text) ?? text).utf8), to: descriptor)
    }

    /// What happened on the way: to stdout, unless a program reads the result there.
    static func remark(_ text: String) {
        told(text + "\n", to: Reader.isProgram ? STDERR_FILENO : STDOUT_FILENO)
    }

    /// A message for a person.
    static func error(_ text: String) {
        told(text + "\n", to: STDERR_FILENO)
    }

    /// A question, without the end of a line.
    static func prompt(_ text: String) {
        write(Array(text.utf8), to: STDERR_FILENO)
    }

    /// How long a role waits for somebody to read its line.
    private static let announceSeconds = 1

    /// A line for whoever started a role. A role goes on if nobody can read it.
    static func announce(_ text: String, _ logger: Logger) {
        let ending = Array((text + "\n").utf8).withUnsafeBytes {
            PatientWrite.all($0, to: STDOUT_FILENO, stallSeconds: announceSeconds)
        }
        let reason: String
        switch ending {
        case .done: return
        case .failed(let number): reason = String(cString: strerror(number))
        case .stalled: reason = "nobody reads it"
        }
        logger.warning("standard output takes nothing", metadata: ["reason": "\(reason)"])
    }

    /// All bytes, whole characters, or the end of the process: without a word if nobody reads on, as with any filter in
    /// a pipe; with a sentence if nobody has read on for `patience` seconds. A terminal shows what others have written
    /// into keys and names, and does not obey it.
    static func write(_ all: [UInt8], to descriptor: Int32, patience: Int? = nil) {
        let all = Terminal(descriptor).isTerminal ? TerminalText.shown(all) : all
        let ending = all.withUnsafeBytes { PatientWrite.all($0, to: descriptor, stallSeconds: patience) }
        let problem: String
        switch ending {
        case .done: return
        case .failed(EPIPE): exit(ServiceKit.ExitCode.ioError.rawValue)
        case .failed(let number): problem = "cannot write to standard output: \(String(cString: strerror(number)))"
        case .stalled:
            problem = "standard output: \(PatientWrite.sentence(stallSeconds: patience ?? 0))\n  \(PatientWrite.advice)"
        }
        if descriptor == STDOUT_FILENO { error("tallymill: \(problem)") }
        exit(ServiceKit.ExitCode.ioError.rawValue)
    }
}

enum Environment {
    /// All variables of the process.
    static var current: [String: String] {
        var variables: [String: String] = [:]
        var entry = environ
        while let text = entry.pointee {
            let pair = String(cString: text)
            if let equals = pair.firstIndex(of: "=") {
                variables[String(pair[..<equals])] = String(pair[pair.index(after: equals)...])
            }
            entry += 1
        }
        return variables
    }
}

enum ResourceLimits {
    static var processors: Int { max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))) }

    /// Raises the soft limit of open files to the hard one: every connection is a file.
    ///
    /// - Returns: that limit.
    @discardableResult
    static func raiseOpenFiles() throws(Failure) -> Int {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
            throw Failure(cannot: "read the limit of open files", errno: errno, code: .failure)
        }
        limit.rlim_cur = limit.rlim_max
        guard setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
            throw Failure(cannot: "raise the limit of open files", errno: errno, code: .failure)
        }
        return Int(clamping: limit.rlim_cur)
    }
}
