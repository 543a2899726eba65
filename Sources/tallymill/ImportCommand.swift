public import ArgumentParser
import Glibc
public import Operations
import ServiceKit
import TallyCore

/// `tallymill import`: counts from elsewhere.
struct ImportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import", abstract: "Counts the lines of files, each exactly once.",
        discussion: """
            EXAMPLES
              tallymill import --format text counts.txt
              zcat old/*.gz | tallymill import --format ndjson -
              tallymill import --format csv --on-error skip --rejects bad.csv counts.csv
              tallymill import --format sqlite numbers.sqlite

            FORMATS
              text     key, TAB, integer, a line; or a space instead of the TAB, if
                       the line has no other and does not begin with a number. The
                       rest can be read in two ways and is refused. Such lines can be
                       posted as text/plain, and are what `export` writes
              ndjson   {"key":"page:/home","value":12}, a line
              csv      key,value; quoted as in RFC 4180; a header is left out
              sqlite   a file with numbers(key, value), in UTF-8 or UTF-16
            Empty lines say nothing. What `uniq -c` writes has the count first; this
            turns it round:
              uniq -c | awk '{n = $1; sub(/^ *[0-9]+ /, ""); print $0 "\\t" n}'

            Into an empty cluster the sums are loaded directly, and the consumers stand still meanwhile; a running \
            `tallymill up` stops its own and starts them again. Otherwise they go through the queues. It returns \
            when all is stored. Interrupted, run it again with the same lines, in either way: nothing is counted \
            twice. Lines that were imported already are recognised by their digest, however long ago and however \
            they came in: it says how many lines were new and how many known. Files that come regularly, such as one \
            an hour, may hold the same lines and mean other counts: give each a name of its own,
              tallymill import --format text --again "$(date +%FT%H)" counts.txt
            which may be repeated like any other.

            WHAT IT REFUSES, AND WHY
              - to load directly while a queue holds a batch, a shard a key, or any of
                these lines: loading does not look at each key, so what is there already
                would count twice. Then they go through the queues; also if it turns out
                only after the queues were drained that some of them had come that way.
              - to go through the queues without consumers: it ends with 69. What it has
                handed over by then stays in the queues and counts once; start the
                consumers and run it again.
              - to begin while another change of epoch is unfinished: 78.
                `tallymill rebalance resume` finishes that.

            It ends with 3 if lines were skipped, or sums do not fit their counters and are
            dead letters.
            """)

    enum OnError: String, ExpressibleByArgument, CaseIterable {
        case stop, skip
    }

    @OptionGroup var common: CommonOptions
    @OptionGroup var change: ChangeOptions
    @Argument(help: "files in that format; - is standard input") var files: [String]
    @Option(help: ArgumentHelp("text, ndjson, csv or sqlite", valueName: "format")) var format: ImportFormat
    @Option(help: ArgumentHelp("what a bad line does: stop (nothing is counted) or skip", valueName: "action"))
    var onError = OnError.stop
    @Option(
        help: ArgumentHelp(
            "where skipped lines go (default: import-rejects-<time>.txt in the data folder)", valueName: "file"))
    var rejects: String?
    @Flag(help: "through the queues, also into an empty cluster") var queued = false
    @Option(help: ArgumentHelp("counts lines that were imported already once more, under this name", valueName: "name"))
    var again: String?

    func validate() throws {
        if again?.isEmpty == true { throw ValidationError("--again is a name, and it is empty") }
    }

    func run() throws {
        try run { () throws(Failure) in
            let tool = try ChangeTool(Session(.importing, common.flags), "import", pauseBefore: change.pauseBefore)
            let sorted = try sort(tool, tool.session.folder.clusterFile().topology.partitioner)
            if sorted.runs.digest.lines == 0 {
                Output.line("nothing to import")
                return sorted.rejected > 0 ? .partial : .ok
            }
            let told = ImportText(lines: sorted.runs.digest.lines, again: again)
            let dead = try load(Import(sorted.runs, into: tool.session.folder, again: again), told, tool)
            return sorted.rejected > 0 || dead > 0 ? .partial : .ok
        }
    }

    private func sort(
        _ tool: ChangeTool, _ partitioner: Partitioner
    ) throws(Failure) -> (runs: SortedRuns, rejected: Int) {
        let folder = tool.session.folder.path
        let kept =
            rejects.map { RejectsFile($0) }
            ?? RejectsFile(in: tool.session.folder, milliseconds: WallClock.milliseconds())
        tool.progress.tell(.phase("reading and sorting, bytes", total: Self.totalBytes(files)))
        let reader = ImportReader(
            format, onError: onError == .skip ? .skip(kept) : .stop, report: { Output.error("skipped: \($0)") },
            tick: { tool.progress.tell(.progress(done: $0)) })
        let sort = ExternalSort(partitioner, folder: folder)
        do throws(Failure) {
            try reader.read(files) { key, value throws(Failure) in try sort.add(key, value) }
        } catch {
            tool.progress.clear()
            throw error
        }
        let runs = try sort.finish()
        tool.progress.tell(.done(ImportText.read(reader, kept)))
        return (runs, reader.rejected)
    }

    /// How many sums are dead letters.
    private func load(_ lines: Import, _ told: ImportText, _ tool: ChangeTool) throws(Failure) -> UInt64 {
        let lock = try tool.session.folder.lockForChange()
        var way = try lines.way(throughQueues: queued, tool.access)
        if way == .done {
            // A direct import that was killed after its last step left its journal.
            _ = try tool.session.folder.endJournal()
            Output.line(told.doneBefore)
            return 0
        }
        if way == .direct || way == .resume {
            let source = lines.source
            let begins = way == .direct
            try withExtendedLifetime(lock) { () throws(Failure) in
                try tool.withConsumersStopped("import", isLocked: true) { rebalance throws(Failure) in
                    if begins { try rebalance.load(source) } else { _ = try rebalance.resume(with: source) }
                }
            }
            way = try lines.way(throughQueues: false, tool.access)
        }
        if way == .done {
            let dead = try lines.buried()
            Output.line(tool.session.given.completing(told.imported(dead: dead)))
            return dead
        }
        // Or a direct import has left them out, because the queues had brought some of them.
        tool.progress.tell(.phase("counting through the queues, lines", total: Int(told.lines)))
        let arrival = try withExtendedLifetime(lock) { () throws(Failure) in
            try lines.deliver(over: tool.access) { tool.progress.tell(.progress(done: $0)) }
        }
        tool.progress.clear()
        Output.line(tool.session.given.completing(told.delivered(arrival)))
        return arrival?.dead ?? 0
    }

    /// nil if it is not known.
    private static func totalBytes(_ files: [String]) -> Int? {
        var total = 0
        for file in files {
            var status = stat()
            guard file != ImportReader.standardInput, stat(file, &status) == 0 else { return nil }
            total += Int(status.st_size)
        }
        return total
    }
}

extension ImportFormat: ExpressibleByArgument {}
