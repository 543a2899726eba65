// Files of SQLite as import reads them: rows of every kind, both encodings, names in capitals, and what is
// no such file.

import Operations
import ServiceKit
import Testing

@Suite struct ImportRowsTests {
    private let folder = ScratchFolder()

    private struct Outcome: Equatable {
        var lines: [String] = []
        var rejections: [String] = []
    }

    private func read(_ file: String) throws -> Outcome {
        var outcome = Outcome()
        let reader = ImportReader(.sqlite, onError: .skip(RejectsFile("\(folder.path)/rejects"))) {
            outcome.rejections.append("\($0.line): \($0.reason)")
        }
        try reader.read([file]) { key, value throws(Failure) in
            outcome.lines.append("\(String(decoding: key, as: UTF8.self))=\(value)")
        }
        return outcome
    }

    private func make(_ sql: String) -> String {
        let file = "\(folder.path)/numbers.sqlite"
        TestProgram.run("/usr/bin/sqlite3", [file, sql])
        return file
    }

    @Test func rowsOfSQLite() throws {
        let file = "\(folder.path)/numbers.sqlite"
        let rows = [
            "('a', 1)", "('é', '-9223372036854775808')", "(17, 4)", "(NULL, 1)", "('b', NULL)", "('c', 1.5)",
            "(x'61', 1)", "('', 1)", "('d', 'x')", "(2.5, 1)",
        ]
        // No affinity, so that every kind of value stays what it is.
        TestProgram.run(
            "/usr/bin/sqlite3",
            [file, "CREATE TABLE numbers(key, value); INSERT INTO numbers VALUES \(rows.joined(separator: ","))"])
        let outcome = try read(file)
        #expect(outcome.lines == ["a=1", "é=-9223372036854775808", "17=4"])
        #expect(
            outcome.rejections == [
                "4: the key is NULL", "5: the value is neither an integer nor text",
                "6: the value is neither an integer nor text", "7: the key is neither an integer nor text",
                "8: the key is empty", "9: the value is not an integer", "10: the key is neither an integer nor text",
            ])
        #expect(try folder.text("rejects") == "\t1\nb\t\nc\t1.5\na\t1\n\t1\nd\tx\n2.5\t1\n")
    }

    @Test func aFileOfSQLiteWithoutTheTable() throws {
        let file = "\(folder.path)/other.sqlite"
        TestProgram.run("/usr/bin/sqlite3", [file, "CREATE TABLE numbers(name, value)"])
        let failure = #expect(throws: Failure.self) { try read(file) }
        #expect(failure?.code == .configuration)
        #expect(failure?.sentence == "\(file): it has no table numbers with the columns key and value")
    }

    /// The bytes of 中 are `-N`, those of 慢慢 `baba`, those of U+3433 `34`.
    @Test(arguments: ["UTF-8", "UTF-16le", "UTF-16be"])
    func textIsItsTextWhateverEncodingTheFileHas(encoding: String) throws {
        let file = make(
            """
            PRAGMA encoding = '\(encoding)'; CREATE TABLE numbers(key, value);
            INSERT INTO numbers VALUES
                ('中', 1), ('慢慢', '2'), ('x', '-12'), (7, 3), ('😀', 4), ('y', '\u{3433}'), ('慢', NULL);
            """)
        let outcome = try read(file)
        #expect(outcome.lines == ["中=1", "慢慢=2", "x=-12", "7=3", "😀=4"])
        #expect(
            outcome.rejections == ["6: the value is not an integer", "7: the value is neither an integer nor text"])
        #expect(try folder.text("rejects") == "y\t\u{3433}\n慢\t\n")
    }

    /// SQLite would make one key of all of them.
    @Test(arguments: [
        ("UTF-16le", ["00D8", "00DC", "00DC00D8", "610000D8"]), ("UTF-16be", ["D800", "DC00", "0061D800"]),
    ])
    func halvesOfSurrogatePairsAreNoText(encoding: String, cells: [String]) throws {
        let values = cells.map { "(CAST(x'\($0)' AS TEXT), 1)" }.joined(separator: ",")
        let file = make(
            "PRAGMA encoding = '\(encoding)'; CREATE TABLE numbers(key, value);"
                + "INSERT INTO numbers VALUES\(values), ('a', 1)"
        )
        let outcome = try read(file)
        #expect(outcome.lines == ["a=1"])
        let reason = "the key is not valid UTF-16, as the file says that its text is"
        #expect(outcome.rejections == cells.indices.map { "\($0 + 1): \(reason)" })
    }

    @Test(arguments: ["Numbers(Key, Value)", "NUMBERS(VALUE, other, KEY)"])
    func namesInCapitals(table: String) throws {
        let file = make("CREATE TABLE \(table); INSERT INTO numbers(key, value) VALUES('a', 1)")
        #expect(try read(file) == Outcome(lines: ["a=1"]))
    }

    @Test(arguments: [ImportFormat.text, .csv, .ndjson])
    func aFileThatIsNone(format: ImportFormat) throws {
        let file = folder.write("a\t1\n", to: "lines.txt")
        let failure = #expect(throws: Failure.self) { try read(file) }
        #expect(failure?.sentence == "\(file): it is no file of SQLite")
        #expect(failure?.advice == "name the format that it has: --format text, ndjson or csv")
        #expect(failure?.code == .corrupt)
        // And the reverse: also where bad lines are skipped.
        let numbers = make("CREATE TABLE numbers(key, value)")
        let rejects = RejectsFile("\(folder.path)/rejects")
        let reverse = #expect(throws: Failure.self) {
            try ImportReader(format, onError: .skip(rejects)).read([numbers]) { _, _ throws(Failure) in }
        }
        #expect(reverse?.sentence == "\(numbers): it is a file of SQLite, not lines of \(format)")
        #expect(reverse?.advice == "Nothing was counted. `--format sqlite` reads it.")
    }

    @Test func anEmptyFileHasNoTable() throws {
        let file = folder.write("", to: "empty")
        let failure = #expect(throws: Failure.self) { try read(file) }
        #expect(failure?.sentence == "\(file): it has no table numbers with the columns key and value")
    }
}
