// Reads what is to be imported: files of lines, one after the other, or standard input, or files of SQLite, and hands
// over each key with its number. A line that is not accepted ends the import before anything was counted, or is
// skipped: then it goes to a file as it is, and is reported with its file, its number and the reason.
//
// Empty lines are passed over, as in posted text. A file that is something else altogether is named as that, and never
// skipped line by line.
//
// Lines are cut out of a large buffer and parsed where they lie: nothing is copied and nothing allocated for a line.

public import ServiceKit
import TallyCore

/// The form of what is imported.
public enum ImportFormat: String, CaseIterable, Sendable {
    case text, ndjson, csv, sqlite
}

/// A line that was not accepted.
public struct ImportRejection: Hashable, Sendable, CustomStringConvertible {
    public let file: String
    /// The line it begins on, from 1; for SQLite the row.
    public let line: Int
    /// One sentence without a full stop, and without what the line says.
    public let reason: String

    public var place: String { "\(file):\(line)" }
    public var description: String { "\(place): \(reason)" }
}

/// Reads files. Owned by one thread.
public final class ImportReader {
    public enum OnError {
        /// The first line that is not accepted ends the import.
        case stop
        case skip(RejectsFile)
    }

    /// Standard input in a list of files.
    public static let standardInput = "-"

    /// Lines that were accepted.
    public private(set) var accepted = 0
    /// Lines that were not.
    public private(set) var rejected = 0
    /// Lines that say nothing: empty ones, and the header of a CSV.
    public private(set) var passedOver = 0
    /// All of these.
    public var linesRead: Int { accepted + rejected + passedOver }
    /// Bytes read of all files; rows for SQLite.
    public private(set) var progress = 0
    let format: ImportFormat
    private let onError: OnError
    private let report: (ImportRejection) -> Void
    private let tick: (Int) -> Void
    var line = ImportLine()

    /// - Parameters:
    ///   - report: gets each line that is skipped.
    ///   - tick: gets `progress` now and then.
    public init(
        _ format: ImportFormat, onError: OnError, report: @escaping (ImportRejection) -> Void = { _ in },
        tick: @escaping (Int) -> Void = { _ in }
    ) {
        self.format = format
        self.onError = onError
        self.report = report
        self.tick = tick
    }

    /// Hands over all lines of `files`, in their order.
    ///
    /// - Parameter body: gets a valid key, which lives for the call, and its number.
    /// - Throws: 65 for the first line that is not accepted, unless such lines are skipped, and for a file that is no
    ///   text, or no file of SQLite; 64 for a file of SQLite from standard input; 74; 78 for a file of SQLite without
    ///   the table; what `body` throws.
    public func read(
        _ files: [String], into body: (UnsafeRawBufferPointer, Int64) throws(Failure) -> Void
    ) throws(Failure) {
        for file in files {
            if format == .sqlite { try readRows(file, into: body) } else { try readLines(file, into: body) }
        }
        if case .skip(let rejects) = onError { try rejects.finish() }
    }

    private func readLines(
        _ file: String, into body: (UnsafeRawBufferPointer, Int64) throws(Failure) -> Void
    ) throws(Failure) {
        let isInput = file == Self.standardInput
        let input = isInput ? FileInput(standardInputAs: "standard input") : try FileInput(file)
        let lines = LineBuffer(input, isCSV: format == .csv)
        let before = progress
        while try lines.fill() {
            if progress == before { try ForeignFile.refuse(lines.unread, at: lines.name, readAs: format) }
            progress = before + lines.bytesRead
            tick(progress)
            while let text = lines.next() { try accept(text, lines, into: body) }
        }
        progress = before + lines.bytesRead
    }

    @inline(__always)
    private func accept(
        _ text: UnsafeRawBufferPointer, _ lines: LineBuffer,
        into body: (UnsafeRawBufferPointer, Int64) throws(Failure) -> Void
    ) throws(Failure) {
        if text.isEmpty {
            passedOver += 1
            return
        }
        if lines.isCut { return try refuse(text, lines, .tooLong) }
        let problem =
            switch format {
            case .text: line.parseText(text)
            case .ndjson: line.parseJSON(text)
            case .csv, .sqlite: line.parseCSV(text)
            }
        guard let problem else {
            accepted += 1
            return try body(line.key, line.value)
        }
        try refuse(text, lines, problem)
    }

    private func refuse(
        _ text: UnsafeRawBufferPointer, _ lines: LineBuffer, _ problem: ImportProblem
    ) throws(Failure) {
        if format == .csv, lines.number == 1, ImportLine.isCSVHeader(text) {
            passedOver += 1
            return
        }
        let rejects = try reject(ImportRejection(file: lines.name, line: lines.number, reason: "\(problem)"))
        try rejects.append(lines.verbatim)
        while lines.isCut {
            lines.skipRest()
            try rejects.append(lines.verbatim)
            if lines.isCut, try !lines.fill() { break }
        }
        try rejects.endLine()
    }

    /// Counts and reports a line that is skipped; where it is to be kept.
    ///
    /// - Throws: 65 if none is to be skipped.
    func reject(_ rejection: ImportRejection) throws(Failure) -> RejectsFile {
        switch onError {
        case .stop:
            throw Failure(
                .corrupt, rejection.reason, at: rejection.place,
                advice: "Nothing was counted. Correct it, or go on without such lines: --on-error skip keeps them in a "
                    + "file.")
        case .skip(let rejects):
            rejected += 1
            report(rejection)
            return rejects
        }
    }

    /// Counts a row and hands it over.
    func acceptRow(into body: (UnsafeRawBufferPointer, Int64) throws(Failure) -> Void) throws(Failure) {
        accepted += 1
        try body(line.key, line.value)
    }

    /// Counts a row that was looked at.
    func countRow() {
        progress += 1
        if progress & 0xFFFF == 0 { tick(progress) }
    }
}
