import ArgumentParser
import HTTPFront
import Logging
import Operations
import ServiceKit
import TallyCore
import Telemetry
import Tokens
import WebNode

/// `tallymill web`: a web node, until SIGTERM or Ctrl-C.
struct WebCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "web", abstract: "Runs a web node; several may run.",
        discussion: """
            EXAMPLES
              tallymill web --listen 127.0.0.1:3333
              tallymill web --listen 0.0.0.0:8080 --tokens-file /etc/tallymill/tokens
              tallymill web --event-loops 2 --redis unix:///run/redis/redis.sock
              curl -d 'key=hello&value=1' http://127.0.0.1:3333/increment

            An address that other machines reach takes --tokens-file: see `tallymill token --help`.

            SIGTERM: /readyz fails, no connection is accepted, what was admitted is pushed to the Redis that the \
            address leads to now, shards get 3 s to count it, exit 0. What they have not counted by then is named. A \
            second SIGTERM ends it at once, with exit 1 if something was not pushed. SIGHUP reads the configuration \
            and the tokens again; `tallymill config show` marks what can change without a restart.
            """)

    @OptionGroup var common: CommonOptions
    @OptionGroup var web: WebOptions
    @OptionGroup var admin: AdminOptions

    func run() throws {
        try run { () throws(Failure) in
            let signals = try SignalWaiter()
            var flags = common.flags
            web.add(to: &flags)
            admin.add(to: &flags)
            let session = try Session(.web, flags)
            let logger = session.log.logger("web")
            var reload = Reload(.web, flags, session, logger: logger)
            return try serve(session, signals, &reload, logger)
        }
    }

    private func serve(
        _ session: Session, _ signals: SignalWaiter, _ reload: inout Reload, _ logger: Logger
    ) throws(Failure) -> ServiceKit.ExitCode {
        let (http, adminConnections) = try Self.limits(session.settings, logger)
        let listen = session.settings.endpoint(.listen)
        let tokens = try session.access()
        var watch = try RoleWatch(
            session, defaultPort: RoleWatch.port(besideWeb: listen.port), tokens, connectionsMax: adminConnections,
            logger: logger)
        let access = try session.redis(clientName: "tallymill-web")
        _ = try access.connect(waitingMilliseconds: RedisAccess.startMilliseconds)
        let node = try WebNode.start(
            configuration(session.settings, http, access, tokens, session.given), logger: logger)
        var fields = RoleWatch.addresses(node.address, node.boundAddresses)
        fields["redis"] = "\(access.place)"
        logger.info("listening", metadata: fields)
        tokens?.log(to: logger)
        watch.start { NodeObserver(node, access, RoleWatch.build) }
        var isTold = false
        while true {
            let event = try signals.wait(timeoutMilliseconds: isTold ? 100 : 10)
            try endIfCloned(node, &watch)
            if event?.kind == .hangup {
                reload.run { settings throws(Failure) in
                    node.setBounds(outboxBytes: settings.bytes(.outboxBytes), queueBytes: settings.bytes(.queueBytes))
                }
                tokens?.reload(logger: logger)
            } else if event != nil {
                return try stop(node, &watch, signals)
            }
            if !isTold, node.isReady {
                isTold = true
                Output.announce("ready http://\(node.listening)", watch.logger)
                watch.tell { notify throws(Failure) in try notify.ready(status: "listening on \(node.listening)") }
            }
        }
    }

    /// A node that meets batches of its own identity that it has not made ends: a supervisor starts it with a new one.
    private func endIfCloned(_ node: WebNode, _ watch: inout RoleWatch) throws(Failure) {
        guard let stream = node.conflict else { return }
        watch.stop()
        node.abandon()
        throw Failure(
            .failure,
            "another process uses the identity of this node, producer \(stream.producer) in partition"
                + " \(stream.partition.number): this one was resumed from a snapshot of its memory, or cloned",
            advice: "It has stopped pushing; what it had not acknowledged its clients do not know. Started again it has"
                + " a new identity.")
    }

    private func stop(
        _ node: WebNode, _ watch: inout RoleWatch, _ signals: SignalWaiter
    ) throws(Failure) -> ServiceKit.ExitCode {
        watch.logger.info("stopping: no new connections, what was admitted is pushed")
        watch.tell { notify throws(Failure) in try notify.stopping(status: "pushing what was admitted") }
        node.drain()
        var patience = StopPatience()
        while !node.isDrained {
            if let event = try signals.wait(timeoutMilliseconds: 20), event.stopRequests > 1 { break }
            try endIfCloned(node, &watch)
            if patience.isDeserved(heldBytes: node.leftover.bytes) {
                watch.askForPatience()
            }
        }
        watch.stop()
        let isDrained = node.isDrained
        let leftover = node.finish()
        if leftover.isEmpty { return .ok }
        let amount =
            "\(Humanized.batches(leftover.batches)) (\(Humanized.bytes(leftover.bytes))) of partitions"
            + " \(PartitionList.text(leftover.partitions.sorted()))"
        if isDrained || leftover.isQueued {
            watch.logger.info("stopped: Redis has these, and no shard has confirmed them yet: \(amount)")
            return .ok
        }
        throw Failure(
            .failure, "stopped with up to \(amount) that the Redis which is there now has not confirmed",
            advice: "What was acknowledged is in the Redis that confirmed it: bring that back, or what the clients"
                + " were told is lost.")
    }

    /// What clients may use, within the limit of open files; and the connections of the admin listener.
    private static func limits(_ settings: Settings, _ logger: Logger) throws(Failure) -> (HTTPLimits, admin: Int) {
        var http = HTTPLimits()
        http.bodyBytes = settings.bytes(.requestBodyBytes)
        http.memoryBytes = settings.bytes(.requestMemoryBytes)
        http.increments = settings.integer(.requestIncrements)
        http.unansweredRequests = settings.integer(.unansweredRequests)
        http.connections = settings.integer(.maxConnections)
        http.connectionsPerAddress = settings.optionalInteger(.connectionsPerAddress)
        let asked = http.connections
        let files = try ResourceLimits.raiseOpenFiles()
        let loops = eventLoops(settings)
        guard
            let budget = DescriptorBudget(
                descriptors: files, eventLoops: loops, http: http, adminConnections: AdminServer.connectionsMax)
        else {
            let least = DescriptorBudget.least(
                eventLoops: loops, http: http, adminConnections: AdminServer.connectionsMax)
            throw Failure(
                .configuration, "\(files) open files are too few for a web node with \(loops) event loops",
                advice: "Allow \(least) at least: LimitNOFILE= in its unit, `ulimit -n` by hand.")
        }
        http.connections = budget.connections
        http.lingeringConnections = budget.lingeringConnections
        if budget.connections < asked {
            logger.warning(
                "the limit of open files allows fewer connections than --max-connections",
                metadata: [
                    "connections": "\(budget.connections)", "max-connections": "\(asked)", "open files": "\(files)",
                    "advice": "Raise the limit: LimitNOFILE= in the unit, `ulimit -n` by hand.",
                ])
        }
        return (http, budget.adminConnections)
    }

    private static func eventLoops(_ settings: Settings) -> Int {
        settings.optionalInteger(.eventLoops) ?? ResourceLimits.processors
    }

    private func configuration(
        _ settings: Settings, _ http: HTTPLimits, _ access: RedisAccess, _ tokens: Access?, _ given: GivenOptions
    ) -> WebNode.Configuration {
        var producer = Producer.Configuration()
        producer.outboxBytes = settings.bytes(.outboxBytes)
        producer.queueBytes = settings.bytes(.queueBytes)
        producer.batchBytes = settings.bytes(.batchBytes)
        var configuration = WebNode.Configuration(
            address: settings.endpoint(.listen),
            eventLoops: Self.eventLoops(settings), http: http,
            producer: producer, link: access.link, names: access.names)
        configuration.access = tokens
        configuration.allowedHosts = settings.list(.allowedHosts)
        configuration.given = given
        return configuration
    }
}

/// Whether a node that stops still deserves patience: as long as what it holds grows less.
struct StopPatience {
    private var held = Int.max

    /// True whenever less is held than at any time before.
    mutating func isDeserved(heldBytes: Int) -> Bool {
        defer { held = min(held, heldBytes) }
        return heldBytes < held
    }
}
