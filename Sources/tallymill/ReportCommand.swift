public import ArgumentParser
import Glibc
public import Operations
import ServiceKit
import TallyCore

/// `tallymill report`: one view over all shards.
struct ReportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "report", abstract: "Shows the totals, merged over all shards.",
        discussion: """
            EXAMPLES
              tallymill report                          all counters, in byte order
              tallymill report page:/home page:/about   these two
              tallymill report --prefix page: --top 10  the ten largest
              tallymill report --summary --format json  keys and total alone
              tallymill report --shards                 by shard file

            It reads the cluster file and the shards, while consumers run or not. If a shard cannot be read, the \
            report says so, and ends with 3 unless --allow-partial is given. It ends if nobody takes what it writes \
            for as long as --patience says: the shards' logs grow meanwhile.
            """,
        aliases: ["merge"])

    @OptionGroup var common: CommonOptions
    @OptionGroup var output: PatienceOption
    @Argument(help: "only these keys") var keys: [String] = []
    @Option(help: ArgumentHelp("only keys that begin with this", valueName: "text")) var prefix: String?
    @Option(help: ArgumentHelp("only the largest so many, by value", valueName: "n")) var top: Int?
    @Option(help: ArgumentHelp("not more than so many", valueName: "n")) var limit: Int?
    @Flag(help: "by shard file instead of by key") var shards = false
    @Flag(help: "no counters, only how many and their total") var summary = false
    @Option(help: ArgumentHelp("table, json, ndjson or csv", valueName: "format")) var format = ReportFormat.table
    @Flag(help: "end with 0 although a shard is missing") var allowPartial = false

    func validate() throws {
        if shards && summary { throw ValidationError("--shards and --summary exclude each other") }
        if !keys.isEmpty && prefix != nil { throw ValidationError("keys and --prefix exclude each other") }
        for (name, value) in [("--top", top), ("--limit", limit)] {
            if let value, value < 0 { throw ValidationError("\(name) takes a number from 0") }
        }
    }

    func run() throws {
        try run { () throws(Failure) in
            let session = try Session(.report, common.flags)
            var query = ReportQuery()
            query.keys = try keys.map { text throws(Failure) in
                do throws(KeyError) { return try Key(stored: Array(text.utf8)) } catch {
                    throw Failure(.usage, "\(error)", at: text)
                }
            }
            query.prefix = Array((prefix ?? "").utf8)
            query.top = top
            query.limit = limit
            let report = try Report(session.folder, query)
            var writer = ReportWriter(
                report, format: format, content: shards ? .shards : summary ? .summary : .counters
            ) { Output.write($0, to: STDOUT_FILENO, patience: output.patience) }
            try writer.write()
            if format == .ndjson || format == .csv {
                for key in report.unknownKeys {
                    Output.error("tallymill: there is no counter \(quoted(String(decoding: key.bytes, as: UTF8.self)))")
                }
            }
            if format != .table {
                for missing in report.missing {
                    Output.error("tallymill: partition \(missing.partition) is missing: \(missing.reason.sentence)")
                }
            }
            return report.isPartial && !allowPartial ? .partial : .ok
        }
    }
}

extension ReportFormat: ExpressibleByArgument {}
