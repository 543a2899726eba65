// A row of small bars, the newest value at the right end: how one number moved. Where there are more values than
// columns, a column shows the largest of its share, because it is the peaks that matter. A column stands for the same
// time however many values there are yet.

/// How values become bars.
public struct Sparkline: Sendable {
    /// Eight heights from U+2581 on, or plain characters for a terminal that has no others.
    public static let blocks: [Character] = ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"]
    public static let plain: [Character] = ["_", ".", ",", "-", "~", "=", "+", "#"]

    let heights: [Character]
    /// The value of the highest bar; at least 1.
    let maximum: Int
    /// The most values that there will be, which the width stands for if it is not larger.
    let count: Int

    /// - Parameter values: at most `count`; nil is a gap.
    func text(_ values: [Int?], width: Int) -> String {
        guard width > 0 else { return "" }
        let perColumn = max(1, (count + width - 1) / width)
        var columns: [Character] = []
        // From the right, so that the newest share is complete and a column keeps its meaning as long as it can.
        var end = values.count
        while end > 0, columns.count < width {
            let share = values[max(0, end - perColumn)..<end].compactMap(\.self)
            columns.append(share.max().map { bar($0) } ?? " ")
            end -= perColumn
        }
        return String(repeating: " ", count: width - columns.count) + String(columns.reversed())
    }

    private func bar(_ value: Int) -> Character {
        let last = heights.count - 1
        guard value > 0 else { return heights[0] }
        return heights[min(last, max(1, (min(value, maximum) * last + maximum - 1) / maximum))]
    }
}
