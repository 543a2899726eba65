// The page that Prometheus reads: its text format, version 0.0.4.
//
//     # HELP name what it says
//     # TYPE name counter
//     name{label="value"} 17
//
// All samples of a metric stand together below its two lines, so each metric is added in one call.
// Source: Prometheus, "Exposition formats", text-based format.

/// Metrics as text, written from top to bottom.
public struct MetricPage {
    public static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    /// A value of a metric, with the values of its labels.
    public struct Sample: Sendable {
        public let labels: [String]
        public let value: Value

        public init(_ value: Value, _ labels: String...) {
            self.labels = labels
            self.value = value
        }
    }

    public enum Value: Sendable {
        case whole(UInt64)
        case fraction(Double)
        case histogram(LatencyHistogram)

        public static func count(_ value: Int) -> Value { .whole(UInt64(max(0, value))) }
        public static func flag(_ value: Bool) -> Value { .whole(value ? 1 : 0) }
        public static func seconds(milliseconds: UInt64) -> Value { .fraction(Double(milliseconds) / 1_000) }
    }

    public private(set) var text: [UInt8] = []
    private var written: Set<String> = []

    public init() {}

    /// Adds a metric with all its samples; nothing if there are none.
    public mutating func add(_ metric: Metric, _ samples: [Sample]) {
        precondition(written.insert(metric.name).inserted, "\(metric.name) is on the page already")
        if samples.isEmpty { return }
        text += "# HELP \(metric.name) \(Self.escaped(metric.help, quotes: false))\n".utf8
        text += "# TYPE \(metric.name) \(metric.kind.rawValue)\n".utf8
        for sample in samples {
            precondition(sample.labels.count == metric.labels.count, "\(metric.name) takes \(metric.labels)")
            let labels = zip(metric.labels, sample.labels).map { "\($0)=\"\(Self.escaped($1, quotes: true))\"" }
            append(metric, labels, sample.value)
        }
    }

    /// Adds a metric that has one sample without labels.
    public mutating func add(_ metric: Metric, _ value: Value) {
        add(metric, [Sample(value)])
    }

    private mutating func append(_ metric: Metric, _ labels: [String], _ value: Value) {
        switch value {
        case .whole(let number): appendLine(metric.name, labels, "\(number)")
        case .fraction(let number): appendLine(metric.name, labels, "\(number)")
        case .histogram(let histogram):
            precondition(metric.kind == .histogram, "\(metric.name) is no histogram")
            var below: UInt64 = 0
            for (bound, count) in zip(LatencyHistogram.boundsMicroseconds, histogram.counts) {
                below += count
                appendLine("\(metric.name)_bucket", labels + ["le=\"\(Double(bound) / 1e6)\""], "\(below)")
            }
            appendLine("\(metric.name)_bucket", labels + ["le=\"+Inf\""], "\(histogram.count)")
            appendLine("\(metric.name)_sum", labels, "\(Double(histogram.sumNanoseconds) / 1e9)")
            appendLine("\(metric.name)_count", labels, "\(histogram.count)")
        }
    }

    private mutating func appendLine(_ name: String, _ labels: [String], _ value: String) {
        text += name.utf8
        if !labels.isEmpty { text += "{\(labels.joined(separator: ","))}".utf8 }
        text += " \(value)\n".utf8
    }

    private static func escaped(_ text: String, quotes: Bool) -> String {
        var escaped = ""
        for character in text.unicodeScalars {
            switch character {
            case "\\": escaped += "\\\\"
            case "\n": escaped += "\\n"
            case "\"" where quotes: escaped += "\\\""
            default: escaped.unicodeScalars.append(character)
            }
        }
        return escaped
    }
}
