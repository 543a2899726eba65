// One row of the table of metrics: a name that says its unit, a kind, the labels that its samples carry, and a line for
// people. The table itself belongs to the product; the README's table and the page are checked against it.
//
// Names and kinds follow Prometheus: base units (seconds, bytes), `_total` at the end of a counter, `_seconds` before
// the suffixes of a histogram. Labels have few values by nature (a partition, a reason): never a user's key.

/// What is measured.
public struct Metric: Hashable, Sendable {
    public enum Kind: String, Sendable {
        /// Only grows, from 0 at the start of the process.
        case counter
        case gauge
        /// Of durations, in seconds.
        case histogram
    }

    public let name: String
    public let kind: Kind
    /// The names of the labels of each sample, in their order.
    public let labels: [String]
    /// One line without a full stop.
    public let help: String

    public init(_ name: String, _ kind: Kind, labels: [String] = [], _ help: String) {
        self.name = name
        self.kind = kind
        self.labels = labels
        self.help = help
    }
}
