import ArgumentParser
import Glibc
import Operations
import ServiceKit

/// `tallymill top`: rates, backlog and nodes, live.
struct TopCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "top", abstract: "Shows rates in and out, how far each partition is behind, and the nodes.",
        discussion: """
            EXAMPLES
              tallymill top
              tallymill top --node http://10.0.0.7:3333 --node http://10.0.0.8:3333
              tallymill top --once                      one look, as text
              tallymill top --format json --count 60    a line a second, for a minute

            OUT is what consumers count, from the shards of this host; IN is what web nodes take in; LAG is the age of \
            the oldest batch that waits. A web node is asked if --node names it, or if it is of the `up` that runs in \
            the data folder. What cannot be read is shown as -, and is tried again.

            KEYS
              q, Ctrl-C quit; s sorts by partition, or by lag; arrows, page up, page down, home, end scroll

            Without a terminal it prints looks as text. A first look is only compared with: rates need two.

            EXIT CODES
              0 ok, also after SIGTERM; 64 usage, 74 the terminal is gone, 78 configuration
            """)

    @OptionGroup var common: CommonOptions
    @Option(help: ArgumentHelp("a web node to ask; repeat it for more", valueName: "url"))
    var node: [AuditCommand.NodeAddress] = []
    @Option(help: .setting(.tokenFile)) var tokenFile: String?
    @Option(help: ArgumentHelp("time between looks, 100ms to 1h", valueName: "duration"))
    var interval = Interval.second
    @Flag(help: "print one look and end") var once = false
    @Option(help: ArgumentHelp("print so many looks and end", valueName: "n")) var count: Int?
    @Option(help: ArgumentHelp("table or json", valueName: "format")) var format = Format.table

    func validate() throws {
        if let count, count < 1 { throw ValidationError("--count takes a number from 1") }
        if once, count ?? 1 != 1 { throw ValidationError("--once and --count exclude each other") }
    }

    func run() throws {
        try run { () throws(Failure) in
            let isLive =
                format == .table && !once && count == nil
                && Terminal(STDIN_FILENO).isTerminal && Terminal.standardOutput.isTerminal
            let signals = try SignalWaiter(watchesSize: isLive)
            var flags = common.flags
            flags.set(.tokenFile, tokenFile)
            let session = try Session(.top, flags)
            let feed = try TopFeed(session, node, everyMilliseconds: interval.milliseconds)
            defer { feed.stop() }
            if isLive {
                var live = TopLive(feed, signals)
                try live.run()
            } else {
                try print(feed, signals)
            }
            return .ok
        }
    }

    /// Looks as text or JSON, until there were enough of them.
    private func print(_ feed: TopFeed, _ signals: SignalWaiter) throws(Failure) {
        let bars = Terminal.isUTF8 ? Sparkline.blocks : Sparkline.plain
        var model = TopModel()
        // Without a terminal and a number, one look is what is wanted; JSON goes on.
        var rest = once ? 1 : count ?? (format == .json ? Int.max : 1)
        while rest > 0 {
            switch try Waiting.wait(for: [signals.descriptor, feed.readings.descriptor]) {
            case 0: if let event = try signals.wait(timeoutMilliseconds: 0), event.kind != .resize { return }
            default:
                guard let reading = feed.readings.take() else { continue }
                model.take(reading)
                if model.readings == 1 { continue }
                Output.write(
                    Array((format == .json ? model.json + "\n" : model.text(bars: bars)).utf8), to: STDOUT_FILENO)
                rest -= 1
            }
        }
    }
}

extension TopCommand {
    /// The time between two looks.
    struct Interval: ExpressibleByArgument, CustomStringConvertible {
        static let second = Interval(milliseconds: 1_000)
        private static let kind = SettingKind.duration(100...3_600_000)
        let milliseconds: Int

        private init(milliseconds: Int) { self.milliseconds = milliseconds }

        init?(argument: String) {
            guard case .duration(let milliseconds)? = Self.kind.parse(argument) else { return nil }
            self.init(milliseconds: milliseconds)
        }

        var description: String { milliseconds % 1_000 == 0 ? "\(milliseconds / 1_000)s" : "\(milliseconds)ms" }
    }
}
