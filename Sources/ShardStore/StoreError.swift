// What can go wrong with a shard file, in a closed list. Which exit code or back-off follows is decided by the roles.

/// Why a shard file could not be opened, read or written.
public enum StoreError: Error, Hashable, Sendable {
    case missing(path: String)
    /// The file is no SQLite database or damaged.
    case corrupt(path: String, detail: String)
    /// A sound file, but not the one that belongs here.
    case mismatch(path: String, field: String, found: String, expected: String)
    /// Another connection writes; it may work later.
    case busy(path: String)
    /// No space on the device; it may work later.
    case full(path: String)
    case denied(path: String)
    /// Reading or writing the device failed: the connection must not be used further.
    case io(path: String, detail: String)
    case other(path: String, detail: String)

    /// Whether the same call may succeed later, on the same connection.
    public var isTemporary: Bool {
        switch self {
        case .busy, .full: true
        case .missing, .corrupt, .mismatch, .denied, .io, .other: false
        }
    }

    public var path: String {
        switch self {
        case .missing(let path), .busy(let path), .full(let path), .denied(let path), .corrupt(let path, _),
            .mismatch(let path, _, _, _), .io(let path, _), .other(let path, _):
            path
        }
    }

    /// What to do next.
    public var advice: String {
        switch self {
        case .missing: "Put the shard's newest copy back; an empty one would count again what is in it."
        case .corrupt: "Put the shard's newest copy back, or recover it with `sqlite3 FILE .recover`."
        case .mismatch: "Check --data-dir, and that the cluster file and the shards were copied together."
        case .busy: "Another program writes to the file: only the consumer may."
        case .full: "Free space on its device: the consumer goes on by itself."
        case .denied: "Give this user the right to read the folder and the file, for a consumer also to write them."
        case .io: "Look at the system's log for errors of the device."
        case .other: "This is most likely a mistake of ours: please report it."
        }
    }
}

extension StoreError: CustomStringConvertible {
    /// One sentence, without the path.
    public var description: String {
        switch self {
        case .missing: "the shard file is missing"
        case .corrupt(_, let detail): "the shard file is corrupt: \(detail)"
        case .mismatch(_, let field, let found, let expected):
            "the shard file has \(field) \(found), expected \(expected)"
        case .busy: "the shard file is busy"
        case .full: "the disk of the shard file is full"
        case .denied: "no permission for the shard file"
        case .io(_, let detail): "the shard file cannot be read or written: \(detail)"
        case .other(_, let detail): "SQLite refuses: \(detail)"
        }
    }
}
