// The columns of the table of partitions, and which of them a width has room for. The bars take what is left, so that
// a wide screen shows every sample and a narrow one the peaks.

import ServiceKit

/// The layout for one width.
struct TopColumns {
    private static let rateWidth = 8
    private static let batchesWidth = 9
    private static let bytesWidth = 11
    private static let lagWidth = 10
    private static let commitWidth = 11
    private static let numberWidth = 4
    private static let barsWidthMin = 8
    private static let ownerWidthMin = 8

    let showsBytes: Bool
    let showsCommit: Bool
    /// 0: not shown.
    let ownerWidth: Int
    let barsWidth: Int

    /// - Parameter owners: the lengths of the names of those who consume.
    init(width: Int, owners: [Int]) {
        var rest = width - Self.numberWidth - Self.rateWidth - Self.batchesWidth - Self.lagWidth
        let bars = 2 + Self.barsWidthMin
        showsBytes = rest >= Self.bytesWidth + bars
        if showsBytes { rest -= Self.bytesWidth }
        let owner = min(owners.max() ?? 1, 24)
        let wanted = max(owner, Self.ownerWidthMin)
        let least = min(wanted, 16)
        if rest >= bars + 2 + least {
            ownerWidth = rest >= bars + Self.commitWidth + 2 + wanted ? wanted : least
            rest -= 2 + ownerWidth
        } else {
            ownerWidth = 0
        }
        showsCommit = rest >= bars + Self.commitWidth
        if showsCommit { rest -= Self.commitWidth }
        barsWidth = rest >= 2 + 4 ? min(rest - 2, TopModel.historyCount) : 0
    }

    var heading: String {
        line([
            "PART", "OUT/S", "BATCHES", "BYTES", "LAG", barsWidth < 11 ? "LAG WAS" : "LAG, LAST 60", "COMMIT",
            "CONSUMER",
        ])
    }

    func row(_ partition: TopModel.Partition, _ sparkline: Sparkline, _ wallMilliseconds: Int64) -> String {
        let reading = partition.reading
        return line([
            "\(reading.number)", TopText.rate(partition.outRate), reading.batches.map { Humanized.count($0) } ?? "-",
            reading.bytes.map { Humanized.bytes($0) } ?? "-", TopText.lag(reading.lagMilliseconds),
            sparkline.text(partition.lags, width: barsWidth),
            TopText.ago(reading.lastCommitMilliseconds, wallMilliseconds),
            reading.owner ?? (reading.batches == nil ? "-" : "nobody"),
        ])
    }

    private func line(_ cells: [String]) -> String {
        var text = TopText.right(cells[0], Self.numberWidth) + TopText.right(cells[1], Self.rateWidth)
        text += TopText.right(cells[2], Self.batchesWidth)
        if showsBytes { text += TopText.right(cells[3], Self.bytesWidth) }
        text += TopText.right(cells[4], Self.lagWidth)
        if barsWidth > 0 { text += "  " + TopText.left(cells[5], barsWidth) }
        if showsCommit { text += TopText.right(cells[6], Self.commitWidth) }
        if ownerWidth > 0 { text += "  " + TopText.left(cells[7], ownerWidth) }
        while text.last == " " { text.removeLast() }
        return text
    }
}
