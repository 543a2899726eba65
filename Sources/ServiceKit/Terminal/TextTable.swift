// Rows under headings, for people. Columns are as wide as their widest cell, two spaces apart, and no line ends
// with spaces. Widths count characters: wide East Asian ones shift what follows them.

/// A table that is printed when it is complete.
public struct TextTable: Sendable {
    public enum Column: Hashable, Sendable {
        /// For text.
        case left(String)
        /// For numbers.
        case right(String)

        var heading: String {
            switch self {
            case .left(let heading), .right(let heading): heading
            }
        }

        var isRight: Bool {
            if case .right = self { true } else { false }
        }
    }

    private let columns: [Column]
    private var rows: [[String]] = []

    /// - Parameter columns: at least one.
    public init(_ columns: [Column]) {
        precondition(!columns.isEmpty, "a table without columns")
        self.columns = columns
    }

    /// Adds a row with one cell a column. What a terminal would obey is escaped.
    public mutating func add(_ cells: [String]) {
        precondition(cells.count == columns.count, "a row of \(cells.count) cells for \(columns.count) columns")
        rows.append(cells.map { TerminalText.shown($0) })
    }

    /// The heading and the rows as lines, each with its LF.
    public var text: String {
        let lines = [columns.map(\.heading)] + rows
        let widths = columns.indices.map { column in lines.map { $0[column].count }.max() ?? 0 }
        return lines.map { format($0, widths) + "\n" }.joined()
    }

    private func format(_ cells: [String], _ widths: [Int]) -> String {
        var line = ""
        var owed = 0  // spaces that are written only if something follows
        for (column, (cell, width)) in zip(columns, zip(cells, widths)) {
            let padding = width - cell.count
            let (before, after) = column.isRight ? (padding, 0) : (0, padding)
            if cell.isEmpty {
                owed += padding
            } else {
                line += String(repeating: " ", count: owed + before) + cell
                owed = after
            }
            owed += 2
        }
        return line
    }
}
