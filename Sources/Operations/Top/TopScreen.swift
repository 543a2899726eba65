// From the model to the lines of a screen of a given size. Nothing here writes: the lines are compared with pinned
// screens in the tests, and shown by whoever has the terminal.
//
// From top to bottom: whose cluster it is, the totals, the partitions, the nodes, what could not be read, the keys.
// When rows are scarce the blank lines go first, then nodes and problems beyond one each; the partitions scroll. When
// columns are scarce the last commit goes, then the consumer, the bytes, the bars.

import ServiceKit
import TallyCore

/// One line with what it is, for whoever has colours.
public struct TopLine: Hashable, Sendable {
    public enum Kind: Hashable, Sendable {
        case plain, title, heading, problem, keys
    }

    public let kind: Kind
    /// No longer than the screen is wide.
    public let text: String
}

/// What the person at the screen has chosen.
public struct TopView: Hashable, Sendable {
    public enum Order: Hashable, Sendable {
        case mostBehind, byNumber
    }

    public var order = Order.mostBehind
    /// Rows of the table above the first one shown; may be too large.
    public var scroll = 0
    /// Rows that fit, as of the last screen: what a page is.
    public fileprivate(set) var pageRows = 1

    public init() {}
}

/// Lays screens out.
public struct TopScreen: Sendable {
    /// A list is never drawn as if less than this were much, in milliseconds.
    static let lagScaleMin = 100

    let width: Int
    let height: Int
    let bars: [Character]

    /// - Parameters:
    ///   - width: columns, from 1.
    ///   - height: rows, from 1.
    ///   - bars: `Sparkline.blocks`, or `.plain` where the locale is not UTF-8.
    public init(width: Int, height: Int, bars: [Character] = Sparkline.blocks) {
        self.width = max(1, width)
        self.height = max(1, height)
        self.bars = bars
    }

    /// The whole screen: at most `height` lines.
    public func lines(_ model: TopModel, _ view: inout TopView) -> [TopLine] {
        let isTight = height < 16
        let problems = Self.shortened(model.problems, to: isTight ? 1 : 4).map { TopLine(.problem, "! \($0)", width) }
        let nodes = nodeLines(model, limit: isTight ? 1 : max(1, height / 4))
        let blanks = isTight ? 0 : 2
        let fixed = 2 + 1 + nodes.count + problems.count + blanks + 1
        let rows = ordered(model, view)
        view.pageRows = max(1, height - fixed)
        view.scroll = max(0, min(view.scroll, rows.count - view.pageRows))
        var lines = [title(model), totals(model)]
        if !isTight { lines.append(.blank) }
        lines += partitionLines(rows, view, wallMilliseconds: model.wallMilliseconds)
        if !isTight { lines.append(.blank) }
        lines += nodes + problems
        let room = max(0, height - 1 - lines.count)
        lines += Array(repeating: .blank, count: room)
        return Array(lines.prefix(max(0, height - 1))) + [keys(rows.count, view)]
    }

    // MARK: Head and foot

    private func title(_ model: TopModel) -> TopLine {
        let time = Timestamp.rfc3339(milliseconds: model.wallMilliseconds).dropFirst(11).prefix(8) + "Z"
        var name = "tallymill"
        if let topology = model.topology {
            let partitions = topology.partitions == 1 ? "1 partition" : "\(topology.partitions) partitions"
            name += "  epoch \(topology.epoch), \(partitions)"
            let id = "  cluster \(topology.cluster)"
            if name.count + id.count + 2 + time.count <= width { name += id }
        }
        let gap = width - name.count - time.count
        return TopLine(.title, gap < 2 ? name : name + String(repeating: " ", count: gap) + time, width)
    }

    private func totals(_ model: TopModel) -> TopLine {
        let batches = model.batches.map { $0 == 1 ? "1 batch" : "\(Humanized.count($0)) batches" } ?? "-"
        let bytes = model.bytes.map { ", \(Humanized.bytes($0))" } ?? ""
        let oldest = (model.lagMilliseconds ?? 0) == 0 ? "" : ", oldest \(TopText.lag(model.lagMilliseconds))"
        let rates = "in \(TopText.rate(model.inRate))/s  out \(TopText.rate(model.outRate))/s"
        return TopLine(.plain, "\(rates)  waiting \(batches)\(bytes)\(oldest)", width)
    }

    private func keys(_ count: Int, _ view: TopView) -> TopLine {
        let order = view.order == .mostBehind ? "sort by partition" : "sort by lag"
        let last = min(count, view.scroll + view.pageRows)
        let place = count > view.pageRows ? "  rows \(view.scroll + 1)-\(last) of \(count): arrows" : ""
        return TopLine(.keys, "q quit  s \(order)\(place)", width)
    }

    // MARK: Partitions

    private func ordered(_ model: TopModel, _ view: TopView) -> [TopModel.Partition] {
        guard view.order == .mostBehind else { return model.partitions }
        return model.partitions.sorted { left, right in
            let lags = (seconds(left.reading), seconds(right.reading))
            return lags.0 != lags.1 ? lags.0 > lags.1 : left.reading.number < right.reading.number
        }
    }

    /// Whole seconds, or the rows of a busy cluster would change places with every look. What is not known comes first:
    /// it is the most worrying.
    private func seconds(_ reading: TopReading.Partition) -> Int {
        reading.lagMilliseconds.map { $0 / 1_000 } ?? .max
    }

    private func partitionLines(
        _ rows: [TopModel.Partition], _ view: TopView, wallMilliseconds: Int64
    ) -> [TopLine] {
        let shown = rows.dropFirst(view.scroll).prefix(view.pageRows)
        let columns = TopColumns(width: width, owners: rows.map { $0.reading.owner?.count ?? 1 })
        let maximum = rows.flatMap(\.lags).compactMap(\.self).max() ?? 0
        let sparkline = Sparkline(
            heights: bars, maximum: max(maximum, Self.lagScaleMin), count: TopModel.historyCount)
        return [TopLine(.heading, columns.heading, width)]
            + shown.map { TopLine(.plain, columns.row($0, sparkline, wallMilliseconds), width) }
    }

    // MARK: Nodes

    private func nodeLines(_ model: TopModel, limit: Int) -> [TopLine] {
        guard !model.nodes.isEmpty else { return [TopLine(.plain, "no web node is known: --node names one", width)] }
        let showsUnpushed = width >= 60
        let others = 8 + (showsUnpushed ? 10 : 0) + 7 + 2 + 9
        let longest = model.nodes.map { TopText.host($0.address).count }.max() ?? 0
        let addressWidth = max(4, min(longest, width - others))
        func line(_ cells: [String]) -> String {
            TopText.left(cells[0], addressWidth) + TopText.right(cells[1], 8)
                + (showsUnpushed ? TopText.right(cells[2], 10) : "") + TopText.right(cells[3], 7) + "  \(cells[4])"
        }
        var lines = [TopLine(.heading, line(["NODE", "IN/S", "UNPUSHED", "HELD", "STATE"]), width)]
        let isCut = model.nodes.count > limit
        for node in model.nodes.prefix(isCut ? max(1, limit - 1) : limit) {
            let cells = [
                String(TopText.host(node.address)), TopText.rate(node.inRate), TopText.count(node.unpushed),
                TopText.count(node.held), TopText.state(node),
            ]
            lines.append(TopLine(.plain, line(cells), width))
        }
        if isCut { lines.append(TopLine(.plain, "and \(model.nodes.count - max(1, limit - 1)) more nodes", width)) }
        return lines
    }

    private static func shortened(_ sentences: [String], to limit: Int) -> [String] {
        guard sentences.count > limit else { return sentences }
        return sentences.prefix(limit - 1) + ["\(sentences[limit - 1]), and \(sentences.count - limit) more"]
    }
}

extension TopLine {
    fileprivate static let blank = TopLine(kind: .plain, text: "")

    /// Cut to the width of the screen.
    fileprivate init(_ kind: Kind, _ text: String, _ width: Int) {
        self.init(kind: kind, text: String(text.prefix(width)))
    }
}
