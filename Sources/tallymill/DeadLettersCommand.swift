public import ArgumentParser
public import Operations
import ServiceKit
import ShardStore
public import TallyCore

/// `tallymill dead-letters`: increments that could not be counted.
struct DeadLettersCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dead-letters", abstract: "Shows, replays and drops increments that could not be counted.",
        discussion: """
            EXAMPLES
              tallymill dead-letters list
              tallymill dead-letters show 5f0c9a31d2e84b76
              tallymill dead-letters replay 5f0c9a31d2e84b76 08c1f6e2907ab3d5
              tallymill dead-letters drop --all --reason damaged --yes > dropped.ndjson

            An increment that cannot be counted is set aside in its shard and keeps nothing else from being counted. A \
            letter keeps its name for ever, over rebalances and replays; letters that are alike in everything have one \
            together.

            REASONS
              overflow   the counter would leave the range of a 64-bit number: it was
                         not counted
              damaged    the batch was damaged on its way: it was not counted, and what
                         it held cannot be told
              late       it has an Idempotency-Key and was sent longer ago than keys are
                         kept: nobody knows whether an earlier request with the same key
                         was counted
              forgotten  it comes from an epoch that was purged: nobody knows whether it
                         was counted there

            Of the last two, replay what you know was not counted, and drop the rest: replay counts, drop does not.
            """,
        subcommands: [List.self, Show.self, Replay.self, Drop.self], defaultSubcommand: List.self)
}

/// Which letters, on the command line.
struct DeadLetterSelection: ParsableArguments {
    @Argument(help: ArgumentHelp("letters, such as 5f0c9a31d2e84b76", valueName: "id"))
    var letters: [DeadLetterName] = []
    @Flag(help: "all of them") var all = false

    func validate() throws {
        if all == !letters.isEmpty { throw ValidationError("name letters, such as 5f0c9a31d2e84b76, or say --all") }
    }

    /// - Throws: 1 for a name that is nobody's.
    func selection(
        _ found: DeadLetters, _ reason: DeadLetter.Reason? = nil
    ) throws(Failure) -> DeadLetters.Selection {
        all ? .all(reason) : .these(try found.find(letters).map(\.id))
    }
}

extension DeadLettersCommand {
    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "Lists them, by partition and row.",
            discussion: """
                EXAMPLES
                  tallymill dead-letters list
                  tallymill dead-letters list --reason overflow --limit 20
                  tallymill dead-letters list --format ndjson > letters.ndjson
                """)

        enum Format: String, ExpressibleByArgument, CaseIterable {
            case table, json, ndjson
        }

        @OptionGroup var common: CommonOptions
        @Option(help: ArgumentHelp("overflow, damaged, late or forgotten: only these", valueName: "reason"))
        var reason: DeadLetter.Reason?
        @Option(help: ArgumentHelp("not more than so many (default: 1000 in a table, else all)", valueName: "n"))
        var limit: Int?
        @Option(help: ArgumentHelp("table, json or ndjson", valueName: "format")) var format = Format.table

        func validate() throws {
            if let limit, limit < 0 { throw ValidationError("--limit takes a number from 0") }
        }

        func run() throws {
            try run { () throws(Failure) in
                let letters = try DeadLetters(try Session(.deadLetters, common.flags).folder)
                let (count, missing) = letters.count(reason: reason)
                switch format {
                case .table: try writeTable(letters, count)
                case .json: try writeJSON(letters, count, missing.map(\.partition))
                case .ndjson:
                    try letters.forEach(reason: reason, limit: limit ?? .max) { Output.line(DeadLetterWriter.json($0)) }
                }
                for (partition, reason) in missing {
                    Output.error("tallymill: partition \(partition) is missing: \(reason.sentence)")
                }
                return missing.isEmpty ? .ok : .partial
            }
        }

        private func writeTable(_ letters: DeadLetters, _ count: Int) throws(Failure) {
            if count == 0 { return Output.line("no dead letters") }
            var found: [FoundDeadLetter] = []
            try letters.forEach(reason: reason, limit: limit ?? 1_000) { found.append($0) }
            Output.write(Array(DeadLetterWriter.table(found).utf8), to: 1)
            let unknown = Set(found.map(\.letter.reason)).filter(\.mayBeCounted)
            for reason in unknown.sorted(by: { $0.rawValue < $1.rawValue }) {
                Output.line("\(reason.rawValue): \(reason.meaning)")
            }
            if found.count < count { Output.line("\(found.count) of \(count): --limit shows more") }
        }

        private func writeJSON(_ letters: DeadLetters, _ count: Int, _ missing: [UInt32]) throws(Failure) {
            let list = missing.map { "\($0)" }.joined(separator: ",")
            var separator = #"{"epoch":\#(letters.topology.epoch),"count":\#(count),"missing":[\#(list)],"letters":["#
            try letters.forEach(reason: reason, limit: limit ?? .max) { found in
                Output.write(Array((separator + DeadLetterWriter.json(found)).utf8), to: 1)
                separator = ","
            }
            Output.line((separator == "," ? "" : separator) + "]}")
        }
    }

    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "show", abstract: "Shows everything about one of them, a damaged batch byte by byte.",
            discussion: """
                EXAMPLES
                  tallymill dead-letters show 5f0c9a31d2e84b76
                  tallymill dead-letters show 5f0c9a31d2e84b76 --format json

                Of letters that are alike, one is shown for all.
                """)

        @OptionGroup var common: CommonOptions
        @Argument(help: ArgumentHelp("such as 5f0c9a31d2e84b76", valueName: "id")) var letter: DeadLetterName
        @Option(help: ArgumentHelp("table or json", valueName: "format")) var format = Format.table

        func run() throws {
            try run { () throws(Failure) in
                let letters = try DeadLetters(try Session(.deadLetters, common.flags).folder)
                guard let found = try letters.find([letter]).first else {
                    preconditionFailure("a name that is found is somebody's")
                }
                let payload = try letters.payload(of: found.id)
                let text =
                    format == .json
                    ? DeadLetterWriter.json(found, payload: payload) + "\n"
                    : DeadLetterWriter.details(found, payload: payload)
                Output.write(Array(text.utf8), to: 1)
                return .ok
            }
        }
    }

    struct Replay: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "replay", abstract: "Counts them again, and deletes them when that is stored.",
            discussion: """
                EXAMPLES
                  tallymill dead-letters replay 5f0c9a31d2e84b76
                  tallymill dead-letters replay --all
                  tallymill dead-letters replay --all --reason late

                Each amount goes through the queues once more, as one increment; it needs running consumers. \
                Interrupted at any point, it counts nothing twice when it is run again, however much later. An \
                amount that still does not fit stays the letter that it is, and the command ends with 3. Damaged \
                batches cannot be replayed. Late and forgotten letters may have been counted before: --all leaves \
                them where they are, and they are replayed only by their names or by --reason.
                """)

        @OptionGroup var common: CommonOptions
        @OptionGroup var choice: DeadLetterSelection
        @Option(
            help: ArgumentHelp(
                "with --all: overflow, late or forgotten, only these (default: overflow)", valueName: "reason"))
        var reason: DeadLetter.Reason?

        func validate() throws {
            if reason != nil, !choice.all { throw ValidationError("--reason goes with --all") }
            if reason == .damaged {
                throw ValidationError("damaged batches cannot be replayed: nobody knows what they held")
            }
        }

        func run() throws {
            try run { () throws(Failure) in
                let session = try Session(.deadLetters, common.flags)
                let letters = try DeadLetters(session.folder)
                let lock = try session.folder.lockForChange()
                defer { withExtendedLifetime(lock) {} }
                let selection = try choice.selection(letters, reason)
                try letters.check(selection, replays: true)
                let access = try session.redis(clientName: "tallymill-dead-letters")
                _ = try access.connect(waitingMilliseconds: RedisAccess.startMilliseconds)
                var (counted, again) = (0, 0)
                try letters.replay(selection, access) { found, fate in
                    switch fate {
                    case .counted:
                        counted += 1
                        Output.line("\(found.name) is counted")
                    case .stillDead:
                        again += 1
                        Output.line("\(found.name) still does not fit, and stays")
                    }
                }
                Output.line("\(counted) counted, \(again) still dead")
                if choice.all, reason == nil { tellWhatIsLeft(letters) }
                return again > 0 ? .partial : .ok
            }
        }

        /// Letters that only somebody can decide about who knows more.
        private func tellWhatIsLeft(_ letters: DeadLetters) {
            for reason in [DeadLetter.Reason.late, .forgotten] {
                let left = letters.count(reason: reason).letters
                if left == 0 { continue }
                Output.line(
                    "\(Humanized.count(left)) \(reason.rawValue) left: nobody knows whether they were counted; "
                        + "--all --reason \(reason.rawValue) counts them, `drop` does not")
            }
        }
    }

    struct Drop: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "drop", abstract: "Gives them up: prints them as lines of JSON, and deletes them.",
            discussion: """
                EXAMPLES
                  tallymill dead-letters drop 5f0c9a31d2e84b76
                  tallymill dead-letters drop --all --reason damaged --yes > dropped.ndjson

                What is dropped is not counted any more; the ledger keeps its amount as dead. Consumers may run.
                """)

        @OptionGroup var common: CommonOptions
        @OptionGroup var choice: DeadLetterSelection
        @Option(help: ArgumentHelp("with --all: overflow, damaged, late or forgotten, only these", valueName: "reason"))
        var reason: DeadLetter.Reason?
        @Flag(help: "do it without asking") var yes = false

        func validate() throws {
            if reason != nil, !choice.all { throw ValidationError("--reason goes with --all") }
        }

        func run() throws {
            try run { () throws(Failure) in
                let session = try Session(.deadLetters, common.flags)
                let letters = try DeadLetters(session.folder)
                let lock = try session.folder.lockForChange()
                defer { withExtendedLifetime(lock) {} }
                let selection = try choice.selection(letters, reason)
                var count = letters.count(reason: reason).letters
                if case .these(let ids) = selection { count = ids.count }
                if count == 0 {
                    Output.error("tallymill: no dead letters")
                    return .ok
                }
                let what = count == 1 ? "1 dead letter" : "\(count) dead letters"
                guard try Confirmation.ask("Drop \(what) for ever?", isGiven: yes) else {
                    Output.error("tallymill: nothing was dropped")
                    return .ok
                }
                let dropped = try letters.drop(selection) { found, payload in
                    Output.line(DeadLetterWriter.json(found, payload: payload))
                }
                Output.error("tallymill: dropped \(dropped) of \(what)")
                return .ok
            }
        }
    }
}

extension DeadLetterName: ExpressibleByArgument {
    public init?(argument: String) {
        self.init(argument)
    }
}

extension DeadLetter.Reason: ExpressibleByArgument {}
