// The words and numbers of `top`, the same on the live screen and in plain output; and its snapshots, for a pipe and
// for programs.

import ServiceKit
import TallyCore

/// Cells.
enum TopText {
    static func rate(_ rate: Double?) -> String { rate.map { Humanized.quantity($0) } ?? "-" }

    static func count(_ count: UInt64?) -> String { count.map { Humanized.count($0) } ?? "-" }

    static func lag(_ milliseconds: Int?) -> String { milliseconds.map { Humanized.duration(milliseconds: $0) } ?? "-" }

    /// Only whole seconds: what changes with every look without a meaning is hard to read.
    static func ago(_ milliseconds: UInt64?, _ wallMilliseconds: Int64) -> String {
        guard let milliseconds else { return "-" }
        let seconds = max(0, wallMilliseconds - Int64(clamping: milliseconds)) / 1_000
        return seconds < 60 ? "\(seconds) s ago" : Humanized.duration(milliseconds: Int(seconds) * 1_000)
    }

    /// Without the scheme, which all have.
    static func host(_ address: String) -> Substring {
        address.hasPrefix("http://") ? address.dropFirst("http://".count) : address[...]
    }

    static func state(_ node: TopModel.Node) -> String {
        switch node.isReady {
        case true?: "ready"
        case false?: "refuses"
        case nil: node.held == nil ? "no answer" : "-"
        }
    }

    /// Padded and, if it is too long, cut at its end.
    static func left(_ text: some StringProtocol, _ width: Int) -> String {
        String(text.prefix(width)) + String(repeating: " ", count: max(0, width - text.count))
    }

    static func right(_ text: String, _ width: Int) -> String {
        String(repeating: " ", count: max(0, width - text.count)) + text
    }
}

extension TopModel {
    /// Everything as plain lines, however wide: for a pipe or a file.
    public func text(bars: [Character]) -> String {
        let rows = partitions.count + min(nodes.count, 64) + problems.count + 8
        var view = TopView()
        view.order = .byNumber
        // A quarter of the height is for the nodes, and the blank lines need sixteen rows.
        let screen = TopScreen(width: 132, height: max(16, rows * 2 + nodes.count * 4), bars: bars)
        var lines = screen.lines(self, &view).filter { $0.kind != .keys }.map(\.text)
        while lines.last == "" { lines.removeLast() }
        return lines.joined(separator: "\n") + "\n"
    }

    /// One line of JSON; numbers are exact but for rates, which have one decimal.
    public var json: String {
        let rows = partitions.map { partition in
            let reading = partition.reading
            return #"{"partition":\#(reading.number),"out_per_s":\#(Self.number(partition.outRate)),"#
                + #""batches":\#(Self.number(reading.batches)),"bytes":\#(Self.number(reading.bytes)),"#
                + #""lag_ms":\#(Self.number(reading.lagMilliseconds)),"#
                + #""owner":\#(reading.owner.map { JSONText.quote($0) } ?? "null"),"#
                + #""last_commit_ms":\#(Self.number(reading.lastCommitMilliseconds))}"#
        }
        let nodes = nodes.map { node in
            #"{"node":\#(JSONText.quote(node.address)),"in_per_s":\#(Self.number(node.inRate)),"#
                + #""unpushed":\#(Self.number(node.unpushed)),"held":\#(Self.number(node.held)),"#
                + #""ready":\#(Self.number(node.isReady))}"#
        }
        let told = problems.map { JSONText.quote($0) }.joined(separator: ",")
        let cluster = topology.map { #""\#($0.cluster)""# } ?? "null"
        return #"{"time_ms":\#(wallMilliseconds),"cluster":\#(cluster),"epoch":\#(Self.number(topology?.epoch)),"#
            + #""in_per_s":\#(Self.number(inRate)),"out_per_s":\#(Self.number(outRate)),"#
            + #""batches":\#(Self.number(batches)),"bytes":\#(Self.number(bytes)),"#
            + #""lag_ms":\#(Self.number(lagMilliseconds)),"partitions":[\#(rows.joined(separator: ","))],"#
            + #""nodes":[\#(nodes.joined(separator: ","))],"problems":[\#(told)]}"#
    }

    private static func number(_ value: (some CustomStringConvertible)?) -> String {
        value.map { "\($0)" } ?? "null"
    }

    private static func number(_ rate: Double?) -> String {
        guard let rate else { return "null" }
        let tenths = Int((rate * 10).rounded())
        return "\(tenths / 10).\(tenths % 10)"
    }
}
