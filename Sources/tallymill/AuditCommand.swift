import ArgumentParser
import Operations
import ServiceKit

/// `tallymill audit`: does the ledger balance?
struct AuditCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "audit", abstract: "Adds up the ledger: pushed = applied + repeated + dead + lost + queued.",
        discussion: """
            EXAMPLES
              tallymill audit
              tallymill audit --all                         every producer's stream
              tallymill audit --node http://127.0.0.1:3333 --node http://10.0.0.7:3333
              tallymill audit --format json

            Everything that web nodes have pushed to Redis is applied, or repeated (it had been counted under another \
            identity), or dead (tallymill dead-letters), or lost (an operator has accepted that: repair or restore \
            --accept-loss), or still queued; and the counters add up to what was applied, carried over by a rebalance, \
            and imported. What is left over is the residual, which must be 0. PUSHED to RESIDUAL are numbers of \
            increments; JSON has their sums, too. How much a loss was is known when the next batch of its producer has \
            come; until then it is given in batches.

            With --node, what live nodes hold and have not pushed is shown beside it, and whether they still hold \
            batches that are missing.

            It changes nothing, and everything may run: then it is exact to the batches under way, and says so.

            EXIT CODES
              0 the residual is 0, 3 it is not or something was found,
              65 a shard that SQLite cannot open, 69 Redis or a node unreachable,
              75 the cluster was rebalanced meanwhile, 78 configuration
            """)

    @OptionGroup var common: CommonOptions
    @Option(help: ArgumentHelp("a web node to ask what it holds; repeat it for more", valueName: "url"))
    var node: [NodeAddress] = []
    @Option(help: .setting(.tokenFile)) var tokenFile: String?
    @Flag(help: "every stream, not only those that do not balance") var all = false
    @Option(help: ArgumentHelp("table or json", valueName: "format")) var format = Format.table

    func run() throws {
        try run { () throws(Failure) in
            var flags = common.flags
            flags.set(.tokenFile, tokenFile)
            let session = try Session(.audit, flags)
            let token = try session.token()
            let access = try session.redis(clientName: "tallymill-audit")
            let addresses = node
            let line = ShownProgress("auditing partitions")
            let audit = try line.whileShown { show throws(Failure) in
                try Audit(
                    session.folder, access,
                    nodes: { () throws(Failure) in
                        try addresses.map { address throws(Failure) in try NodeQuestion(address, token: token).ask() }
                    }, progress: show)
            }
            let told = audit.completed(by: session.given)
            Output.write(Array((format == .json ? told.json + "\n" : told.text(all: all)).utf8), to: 1)
            return audit.exitCode
        }
    }
}

extension AuditCommand {
    /// A node on the command line.
    struct NodeAddress: ExpressibleByArgument, CustomStringConvertible {
        let endpoint: Endpoint

        init?(argument: String) {
            let scheme = "http://"
            guard argument.hasPrefix(scheme) else { return nil }
            var rest = argument.dropFirst(scheme.count)
            if rest.hasSuffix("/") { rest.removeLast() }
            guard let endpoint = Endpoint(String(rest)), endpoint.port > 0 else { return nil }
            self.endpoint = endpoint
        }

        var description: String { "http://\(endpoint)" }
    }
}
