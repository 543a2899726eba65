// An export in every format, byte for byte, and back through the reader of an import.

import Glibc
import Operations
import ServiceKit
import TallyCore
import Testing

@Suite struct ExportTests {
    let folder = ScratchFolder()

    private func cluster(_ counters: [(key: [UInt8], value: Int64)], partitions: Int = 4) throws -> ShardFixture {
        var cluster = try ShardFixture("\(folder.path)/data", partitions: partitions)
        try cluster.count(counters)
        return cluster
    }

    private func export(
        _ cluster: ShardFixture, _ format: ExportFormat, prefix: String = "", to name: String = "out"
    ) throws -> Int {
        try Export(cluster.folder, prefix: Array(prefix.utf8))
            .write(format, to: "\(folder.path)/\(name)", tick: { _ in })
    }

    private func sorted(_ counters: [(key: [UInt8], value: Int64)]) -> [String] {
        counters.sorted { $0.key.lexicographicallyPrecedes($1.key) }
            .map { "\(String(decoding: $0.key, as: UTF8.self))=\($0.value)" }
    }

    @Test(arguments: ExportFormat.allCases)
    func roundTrip(format: ExportFormat) throws {
        let counters = awkwardCounters(3_000)
        let cluster = try cluster(counters)
        #expect(try export(cluster, format) == counters.count)
        var found: [String] = []
        let readable = try #require(ImportFormat(rawValue: format.rawValue))
        try ImportReader(readable, onError: .stop).read(["\(folder.path)/out"]) { key, value throws(Failure) in
            found.append("\(String(decoding: key, as: UTF8.self))=\(value)")
        }
        #expect(found == sorted(counters))
        #expect(names(in: folder.path) == ["data", "out"])
    }

    @Test func bytesOfEachFormat() throws {
        let cluster = try cluster([
            (Array("b\"c".utf8), -1), (Array("a,b".utf8), 2), (Array("z\\".utf8), .min), (Array("é".utf8), .max),
        ])
        _ = try export(cluster, .text)
        #expect(
            try folder.text("out")
                == "a,b\t2\nb\"c\t-1\nz\\\t-9223372036854775808\né\t9223372036854775807\n")
        _ = try export(cluster, .ndjson)
        #expect(
            try folder.text("out") == #"""
                {"key":"a,b","value":2}
                {"key":"b\"c","value":-1}
                {"key":"z\\","value":-9223372036854775808}
                {"key":"é","value":9223372036854775807}

                """#)
        _ = try export(cluster, .csv)
        #expect(
            try folder.text("out")
                == "key,value\r\n\"a,b\",2\r\n\"b\"\"c\",-1\r\nz\\,-9223372036854775808\r\né,9223372036854775807\r\n")
        _ = try export(cluster, .sqlite)
        let rows = TestProgram.run(
            "/usr/bin/sqlite3", ["\(folder.path)/out", "SELECT typeof(key), key, typeof(value), value FROM numbers"])
        #expect(
            rows == """
                text|a,b|integer|2
                text|b"c|integer|-1
                text|z\\|integer|-9223372036854775808
                text|é|integer|9223372036854775807
                """)
    }

    @Test func everyNumberOfDigits() throws {
        var values: [Int64] = [0, .max, .min]
        var power: Int64 = 1
        for _ in 0..<19 {
            values += [power, power - 1, -power, 1 - power]
            if power < 1_000_000_000_000_000_000 { power *= 10 }
        }
        let counters = values.enumerated().map { (Array("k\(100 + $0.offset)".utf8), $0.element) }
        _ = try export(try cluster(counters, partitions: 1), .text)
        let lines = values.enumerated().map { "k\(100 + $0.offset)\t\($0.element)\n" }
        #expect(try folder.text("out") == lines.joined())
    }

    @Test func prefixesAndNothing() throws {
        let cluster = try cluster(awkwardCounters(20))
        #expect(try export(cluster, .text, prefix: "plain/1") == 11)
        #expect(try export(cluster, .text, prefix: "nothing") == 0)
        #expect(try folder.text("out").isEmpty)
        #expect(try export(cluster, .csv, prefix: "nothing") == 0)
        #expect(try folder.text("out") == "key,value\r\n")
    }

    /// Half of the counters is nothing that should be taken for all of them.
    @Test func aMissingShardEndsIt() throws {
        let cluster = try cluster(awkwardCounters(10))
        _ = try export(cluster, .text)
        let before = try folder.text("out")
        #expect(rename(cluster.path(2), "\(folder.path)/away") == 0)
        let failure = #expect(throws: Failure.self) { try export(cluster, .text) }
        #expect(failure?.code == .configuration && failure?.location == cluster.path(2))
        #expect(try folder.text("out") == before)
        #expect(names(in: folder.path) == ["away", "data", "out"])
    }

    @Test func countsAreNotTheWorlds() throws {
        let cluster = try cluster(awkwardCounters(3))
        let out = "\(folder.path)/out"
        func mode() -> mode_t {
            var status = stat()
            return stat(out, &status) == 0 ? status.st_mode & 0o777 : 0
        }
        for format in ExportFormat.allCases {
            unlink(out)
            _ = try export(cluster, format)
            #expect(mode() == 0o640, "\(format)")
            // What somebody has chosen for a file stays.
            for chosen in [0o600, 0o644] as [mode_t] {
                #expect(chmod(out, chosen) == 0)
                _ = try export(cluster, format)
                #expect(mode() == chosen, "\(format)")
            }
        }
    }

    @Test func standardOutputIsNoFileOfSQLite() throws {
        let export = try Export(try cluster([]).folder)
        let failure = #expect(throws: Failure.self) { try export.write(.sqlite, to: nil, tick: { _ in }) }
        #expect(failure?.code == .usage)
        // A device is written to, and still there afterwards.
        #expect(try export.write(.csv, to: "/dev/null", tick: { _ in }) == 0)
        var status = stat()
        #expect(stat("/dev/null", &status) == 0 && status.st_mode & S_IFMT == S_IFCHR)
    }
}
