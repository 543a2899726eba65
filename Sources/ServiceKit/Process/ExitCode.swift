// How a command ends: the exit codes that scripts and systemd units rely on.
//
// The numbers are those of sysexits.h where one fits. 64, 65, 74 and 78 mean "starting again will not help":
// the units list them in RestartPreventExitStatus, and a supervisor stops instead of restarting.

/// The status with which a command ends.
public enum ExitCode: Int32, CaseIterable, Sendable {
    case ok = 0
    /// Anything that has no code of its own.
    case failure = 1
    /// An answer was given, and it is incomplete or a comparison differed.
    case partial = 3
    /// The command line is wrong.
    case usage = 64
    /// A file's content is damaged.
    case corrupt = 65
    /// A service or host cannot be reached.
    case unavailable = 69
    /// Reading or writing failed: disk full, no permission, broken device.
    case ioError = 74
    /// Another process holds the thing that is needed.
    case locked = 75
    /// The configuration is wrong, or does not match what is stored.
    case configuration = 78

    /// What it means, in one line: README and `--help` print these.
    public var meaning: String {
        switch self {
        case .ok: "done; nothing is wrong"
        case .failure: "failure that has no code of its own: declined, no such name, cut short"
        case .partial: "done, and something is found or missing: findings, differences, shards"
        case .usage: "the command line is wrong, or a question has nobody to answer it"
        case .corrupt: "a shard, a backup or another file is damaged"
        case .unavailable: "Redis, a node, an address or a program cannot be had or does not answer"
        case .ioError: "reading or writing failed: disk full, no permission, broken device"
        case .locked: "another process is at work: a consumer, a tool, an `up`, a lease"
        case .configuration: "settings are wrong or do not fit what is stored: cluster, epoch, K, Redis"
        }
    }

    /// Whether a restart may cure it. A supervisor stops on the others.
    public var isWorthRestarting: Bool { self != .usage && !needsMending }

    /// Whether files, disks or settings are not as they must be: somebody has to mend them, and then it may work.
    public var needsMending: Bool {
        switch self {
        case .corrupt, .ioError, .configuration: true
        case .ok, .failure, .partial, .usage, .unavailable, .locked: false
        }
    }
}
