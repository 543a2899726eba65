// A role that was started by `up` ends with it, also when `up` is killed with SIGKILL and can tell nobody.
//
// Linux sends a signal of our choice when the thread that started us ends (prctl PR_SET_PDEATHSIG). It must be
// asked for by the child itself, and between the child's start and that call the parent may already be gone: then
// no signal ever comes. So the child is told its parent's number and compares it afterwards.

import CPlatform
import Glibc

/// Asks for a signal at the parent's death.
public enum ParentDeath {
    /// The variable in which a parent writes its process number for its children.
    public static let variable = "TALLYMILL_PARENT_PID"

    /// The variable for the children of this process.
    public static var variableForChildren: [String: String] { [variable: "\(getpid())"] }

    /// From now on, this process gets `signal` when its parent ends.
    ///
    /// - Parameters:
    ///   - expectedParent: the number of the process that started this one.
    ///   - signal: SIGKILL, which leaves nothing to chance, unless given.
    /// - Throws: exit code 69 if the parent is gone already, 1 if the system refuses.
    public static func arm(expectedParent: Int32, signal: Int32 = 9) throws(Failure) {
        guard tm_set_parent_death_signal(signal) == 0 else {
            throw Failure(cannot: "ask for a signal at the parent's end", errno: errno, code: .failure)
        }
        guard getppid() == expectedParent else {
            throw Failure(
                .unavailable, "process \(expectedParent), which started this one, has already ended",
                advice: "Nothing to do: \(variable) is set by `up` for its own children only.")
        }
    }

    /// Arms if `variable` is set, and says whether it did.
    ///
    /// - Throws: as `arm`, and 78 if the variable holds no process number.
    @discardableResult
    public static func arm(environment: [String: String], signal: Int32 = 9) throws(Failure) -> Bool {
        guard let text = environment[variable] else { return false }
        guard let number = SettingKind.wholeNumber(text), let parent = Int32(exactly: number), parent > 0 else {
            throw Failure(
                .configuration, "\(variable) in the environment is \(quoted(text)): must be a process number",
                advice: "Remove it: it is set by `up` for its own children only.")
        }
        try arm(expectedParent: parent, signal: signal)
        return true
    }
}
