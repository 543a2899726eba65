// How a report reads: as a table for people, as JSON, as lines of JSON, as CSV.
//
// Counters are written as they are read, so a report of any size takes constant memory. Numbers have all their digits;
// keys are escaped, so that none can pose as another line or cell.

public import ServiceKit
import ShardStore
import TallyCore

/// The form of a report.
public enum ReportFormat: String, CaseIterable, Sendable {
    case table, json, ndjson, csv
}

/// What of a report is shown.
public enum ReportContent: Sendable {
    case counters
    case shards
    case summary
}

/// Writes a report piece by piece.
public struct ReportWriter {
    private let report: Report
    private let format: ReportFormat
    private let content: ReportContent
    private let sink: ([UInt8]) -> Void
    private var buffer: [UInt8] = []

    /// Pieces handed to the sink have about this size.
    private static let chunkBytes = 1 << 16
    private static let valueWidth = 20

    /// - Parameter sink: gets the bytes, in order.
    public init(_ report: Report, format: ReportFormat, content: ReportContent, sink: @escaping ([UInt8]) -> Void) {
        self.report = report
        self.format = format
        self.content = content
        self.sink = sink
    }

    /// Writes all of it.
    ///
    /// - Throws: as `Report.forEachCounter`.
    public mutating func write() throws(Failure) {
        switch format {
        case .json: try writeJSON()
        case .table: try writeTable()
        case .ndjson: try writeLines()
        case .csv: try writeCSV()
        }
        sink(buffer)
        buffer = []
    }

    private mutating func put(_ text: String) {
        buffer.append(contentsOf: text.utf8)
        if buffer.count >= Self.chunkBytes {
            sink(buffer)
            buffer.removeAll(keepingCapacity: true)
        }
    }

    // MARK: JSON

    private var summary: String {
        let missing = report.missing.map { "\($0.partition)" }.joined(separator: ",")
        let topology = report.topology
        return #""cluster":"\#(topology.cluster)","epoch":\#(topology.epoch),"partitions":\#(topology.partitions),"#
            + #""keys":\#(report.totals.keys),\#(JSONText.total(report.totals.sum)),"#
            + #""partial":\#(report.isPartial),"missing":[\#(missing)]\#(unknown)"#
    }

    /// Keys that were asked for and are in no shard that could be read.
    private var unknown: String {
        let keys = report.unknownKeys.map { JSONText.quote($0.bytes) }
        return keys.isEmpty ? "" : #","unknown":[\#(keys.joined(separator: ","))]"#
    }

    private static func json(_ counter: ReportedCounter) -> String {
        #"{"key":\#(JSONText.quote(counter.key)),"value":\#(counter.value)}"#
    }

    private static func json(_ shard: Report.Shard) -> String {
        let commit = shard.lastCommitMilliseconds.map { "\($0)" } ?? "null"
        return #"{"partition":\#(shard.partition),"file":\#(JSONText.quote(shard.path)),"keys":\#(shard.totals.keys),"#
            + #"\#(JSONText.total(shard.totals.sum)),"last_commit_ms":\#(commit)}"#
    }

    private mutating func writeJSON() throws(Failure) {
        put("{\(summary)")
        switch content {
        case .summary: break
        case .shards: put(#","shards":[\#(report.shards.map(Self.json).joined(separator: ","))]"#)
        case .counters:
            put(#","counters":["#)
            var separator = ""
            try report.forEachCounter { counter in
                put("\(separator)\(Self.json(counter))")
                separator = ","
            }
            put("]")
        }
        put("}\n")
    }

    private mutating func writeLines() throws(Failure) {
        switch content {
        case .summary: put("{\(summary)}\n")
        case .shards: for shard in report.shards { put("\(Self.json(shard))\n") }
        case .counters: try report.forEachCounter { put("\(Self.json($0))\n") }
        }
    }

    // MARK: CSV

    private mutating func writeCSV() throws(Failure) {
        switch content {
        case .summary:
            put("epoch,partitions,keys,total,partial\r\n")
            let (topology, totals) = (report.topology, report.totals)
            put("\(topology.epoch),\(topology.partitions),\(totals.keys),\(totals.sum),\(report.isPartial)\r\n")
        case .shards:
            put("partition,file,keys,total,last_commit_ms\r\n")
            for shard in report.shards {
                let commit = shard.lastCommitMilliseconds.map { "\($0)" } ?? ""
                put(
                    "\(shard.partition),\(Self.cell(shard.path)),\(shard.totals.keys),\(shard.totals.sum),\(commit)\r\n"
                )
            }
        case .counters:
            put("key,value\r\n")
            try report.forEachCounter { counter in
                put("\(Self.cell(String(decoding: counter.key, as: UTF8.self))),\(counter.value)\r\n")
            }
        }
    }

    /// A cell of RFC 4180.
    private static func cell(_ text: String) -> String {
        guard text.utf8.contains(where: { $0 == UInt8(ascii: ",") || $0 == UInt8(ascii: "\"") }) else { return text }
        return "\"\(text.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\""))\""
    }

    // MARK: Table

    private mutating func writeTable() throws(Failure) {
        switch content {
        case .summary: break
        case .shards: putShards()
        case .counters:
            put("\(Self.right("VALUE"))  KEY\n")
            try report.forEachCounter { counter in
                let key = TerminalText.shown(String(decoding: counter.key, as: UTF8.self))
                put("\(Self.right("\(counter.value)"))  \(key)\n")
            }
        }
        let totals = report.totals
        put("\(Self.right("\(totals.sum)"))  total of \(Humanized.count(totals.keys, "key")) in ")
        put("\(Humanized.count(report.topology.partitions, "partition")), epoch \(report.topology.epoch)\n")
        for key in report.unknownKeys {
            put("NO COUNTER: \(TerminalText.shown(String(decoding: key.bytes, as: UTF8.self)))\n")
        }
        for missing in report.missing { put("PARTIAL: partition \(missing.partition): \(missing.reason.sentence)\n") }
    }

    private mutating func putShards() {
        var table = TextTable([
            .right("PARTITION"), .right("KEYS"), .right("TOTAL"), .left("LAST COMMIT"), .left("FILE"),
        ])
        for shard in report.shards {
            let commit = shard.lastCommitMilliseconds.map { Timestamp.rfc3339(milliseconds: Int64($0)) } ?? "never"
            table.add(["\(shard.partition)", "\(shard.totals.keys)", "\(shard.totals.sum)", commit, shard.path])
        }
        put(table.text)
    }

    private static func right(_ text: String) -> String {
        String(repeating: " ", count: max(0, valueWidth - text.utf8.count)) + text
    }
}
