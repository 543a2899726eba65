// Where commands write: results to stdout, everything else to stderr; and what they need of the process.

import Dispatch
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

    /// Why a command ends: for a person the sentence and the advice below it, in systemd's journal one event.
    static func failure(_ failure: Failure) {
        let log = LogOutput(format: .auto, level: .info, journalStream: Environment.current["JOURNAL_STREAM"])
        guard log.format == .journal else { return error(failure.report) }
        var fields: Logger.Metadata = ["exit_code": "\(failure.code.rawValue)"]
        let given = Session.current?.given ?? .none
        if let advice = failure.advice { fields["advice"] = "\(given.completing(advice))" }
        log.logger("tallymill").critical("\(given.completing(failure.sentence))", metadata: fields)
    }

    /// A message for a person.
    static func error(_ text: String) {
        told(text + "\n", to: STDERR_FILENO)
    }

    /// A question, without the end of a line.
    static func prompt(_ text: String) {
        write(Array(text.utf8), to: STDERR_FILENO)
    }

    /// A line for whoever started a role. A role goes on if nobody can read it.
    static func announce(_ text: String, _ logger: Logger) {
        guard let number = writeAll(Array((text + "\n").utf8), to: STDOUT_FILENO) else { return }
        logger.warning("standard output takes nothing", metadata: ["reason": "\(String(cString: strerror(number)))"])
    }

    /// All bytes, whole characters, or the end of the process: without a word if nobody reads on, as with any filter in
    /// a pipe. A terminal shows what others have written into keys and names, and does not obey it.
    static func write(_ all: [UInt8], to descriptor: Int32) {
        let all = Terminal(descriptor).isTerminal ? TerminalText.shown(all) : all
        guard let number = writeAll(all, to: descriptor) else { return }
        if descriptor == STDOUT_FILENO, number != EPIPE {
            let reason = String(cString: strerror(number))
            _ = writeAll(Array("tallymill: cannot write to standard output: \(reason)\n".utf8), to: STDERR_FILENO)
        }
        exit(ServiceKit.ExitCode.ioError.rawValue)
    }

    /// nil, or the error number.
    private static func writeAll(_ all: [UInt8], to descriptor: Int32) -> Int32? {
        var bytes = all[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count > 0 { bytes = bytes.dropFirst(count) } else if errno != EINTR { return errno }
        }
        return nil
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
    static func raiseOpenFiles() throws(Failure) {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
            throw Failure(cannot: "read the limit of open files", errno: errno, code: .failure)
        }
        limit.rlim_cur = limit.rlim_max
        guard setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
            throw Failure(cannot: "raise the limit of open files", errno: errno, code: .failure)
        }
    }
}
