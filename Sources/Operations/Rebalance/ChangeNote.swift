// What long work of a tool tells while it goes on; the command shows it, on a terminal as a progress line.

/// What a change of epoch tells while it runs, for a progress line and for the journal.
public enum ChangeNote: Sendable {
    /// A phase begins: "draining", with how much there is to do, if that is known.
    case phase(String, total: Int?)
    case progress(done: Int)
    /// Something is done that a person wants to read.
    case done(String)
}
