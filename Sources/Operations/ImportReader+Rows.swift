// Reads `numbers(key, value)` of a file of SQLite in either of its encodings. Keys are text, or integers, which become
// their digits; values are integers, or text that spells one. A row that is not accepted goes to the file of refused
// lines as SQLite shows it.

import ServiceKit
import ShardConsumer
import ShardStore
import TallyCore

extension ImportReader {
    func readRows(
        _ file: String, into body: (UnsafeRawBufferPointer, Int64) throws(Failure) -> Void
    ) throws(Failure) {
        guard file != Self.standardInput else {
            throw Failure(
                .usage, "a file of SQLite cannot be read from standard input", at: file,
                advice: "Give the file's name.")
        }
        let rows = try onStore { () throws(StoreError) in try NumbersReader(at: file) }
        var number = 0
        while try onStore({ () throws(StoreError) in try rows.next() }) {
            number += 1
            countRow()
            guard let problem = line.take(rows) else {
                try acceptRow(into: body)
                continue
            }
            let rejects = try reject(ImportRejection(file: file, line: number, reason: "\(problem)"))
            try rejects.append(rows.shown(.key))
            rejects.append(UInt8(ascii: "\t"))
            try rejects.append(rows.shown(.value))
            try rejects.endLine()
        }
    }
}

extension ImportLine {
    /// Takes the row that `rows` stands on.
    mutating func take(_ rows: NumbersReader) -> ImportProblem? {
        switch rows.kind(.key) {
        case .null: return .noKey
        case .text, .integer: break
        case .real, .blob: return .wrongType("key")
        }
        switch rows.kind(.value) {
        case .text, .integer: break
        case .null, .real, .blob: return .wrongType("value")
        }
        guard case .bytes(let name) = rows.text(.key) else { return .notUTF16("key") }
        guard case .bytes(let number) = rows.text(.value) else { return .notUTF16("value") }
        return accept(name, number: number)
    }
}
