public import ArgumentParser
public import Operations
import ServiceKit

/// `tallymill export`: all counters, in the forms that `import` reads.
struct ExportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export", abstract: "Writes all counters, in byte order of their keys.",
        discussion: """
            EXAMPLES
              tallymill export -o counters.txt
              tallymill export --format ndjson --prefix page: | gzip > pages.json.gz
              tallymill export --format sqlite -o numbers.sqlite

            FORMATS
              text     key, TAB, value
              ndjson   {"key":"...","value":...}, one a line
              csv      key,value by RFC 4180, with a header
              sqlite   a file with the table numbers(key TEXT PRIMARY KEY, value INTEGER)

            It reads the cluster file and the shards, while consumers run or not. Each shard is read as it is at one \
            moment; between shards there is none, so under load each key is as of some moment during the export. A \
            file of -o has its name when it is complete, and not before. A shard that cannot be read ends the \
            export. So does a reader who takes nothing for as long as --patience says: the shards' logs grow \
            meanwhile.
            """)

    @OptionGroup var common: CommonOptions
    @OptionGroup var pace: PatienceOption
    @Option(help: ArgumentHelp("text, ndjson, csv or sqlite", valueName: "format")) var format = ExportFormat.text
    @Option(help: ArgumentHelp("only keys that begin with this", valueName: "text")) var prefix: String?
    @Option(name: .shortAndLong, help: ArgumentHelp("a file (default: standard output)", valueName: "file"))
    var output: String?

    func validate() throws {
        if output == "-" { throw ValidationError("without -o the counters go to standard output; -o is a file") }
    }

    func run() throws {
        try run { () throws(Failure) in
            let session = try Session(.export, common.flags)
            let export = try Export(session.folder, prefix: Array((prefix ?? "").utf8))
            let progress = ProgressLine("exporting", total: prefix == nil ? export.keys : nil)
            let rows = try progress.during { () throws(Failure) in
                try export.write(format, to: output, patience: pace.patience) { progress.update(done: $0) }
            }
            if let output { Output.error("\(Humanized.count(rows)) counters written to \(output)") }
            return .ok
        }
    }
}

extension ExportFormat: ExpressibleByArgument {}

extension ProgressLine {
    /// Runs `body`, and takes the line away before anything else is printed.
    func during<Value>(_ body: () throws(Failure) -> Value) throws(Failure) -> Value {
        defer { clear() }
        return try body()
    }
}
