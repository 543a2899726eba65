import ArgumentParser
import HTTPFront
import Logging
import Operations
import ServiceKit
import TallyCore
import WebNode

/// `tallymill web`: a web node, until SIGTERM or Ctrl-C.
struct WebCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "web", abstract: "Runs a web node; several may run.",
        discussion: """
            EXAMPLES
              tallymill web --listen 127.0.0.1:3333
              tallymill web --listen 0.0.0.0:8080 --event-loops 2 --redis unix:///run/redis/redis.sock
              curl -d 'key=hello&value=1' http://127.0.0.1:3333/increment

            SIGTERM: /readyz fails, no connection is accepted, what was admitted is pushed, exit 0.
            A second SIGTERM ends it at once, with exit 1 if something was not pushed.
            """)

    @OptionGroup var common: CommonOptions
    @OptionGroup var web: WebOptions

    func run() throws {
        try run { () throws(Failure) in
            let signals = try SignalWaiter()
            var flags = common.flags
            web.add(to: &flags)
            let session = try Session(.web, flags)
            return try serve(session, signals)
        }
    }

    private func serve(_ session: Session, _ signals: SignalWaiter) throws(Failure) -> ServiceKit.ExitCode {
        try ResourceLimits.raiseOpenFiles()
        let logger = session.log.logger("web")
        let access = try session.redis(clientName: "tallymill-web")
        _ = try access.connect(waitingMilliseconds: RedisAccess.startMilliseconds)
        let configuration = try configuration(session.settings, access)
        let node = try WebNode.start(configuration, logger: logger)
        logger.info("listening", metadata: ["address": "\(node.address)"])
        let notify = Notify(environment: Environment.current)
        var isStopping = false
        while !isStopping, !node.isReady {
            if let event = try signals.wait(timeoutMilliseconds: 10) { isStopping = event.kind != .hangup }
        }
        if !isStopping {
            Output.line("ready http://\(node.address)")
            try notify.ready(status: "listening on \(node.address)")
            while try signals.wait()?.kind == .hangup {}
        }
        logger.info("stopping: no new connections, what was admitted is pushed")
        try notify.stopping(status: "pushing what was admitted")
        node.drain()
        while !node.isDrained {
            if let event = try signals.wait(timeoutMilliseconds: 20), event.stopRequests > 1 { break }
        }
        let isDrained = node.isDrained
        let held = node.finish()
        if isDrained { return .ok }
        throw Failure(
            .failure, "stopped with up to \(Humanized.bytes(held)) of increments that Redis has not confirmed")
    }

    private func configuration(_ settings: Settings, _ access: RedisAccess) throws(Failure) -> WebNode.Configuration {
        var http = HTTPLimits()
        http.bodyBytes = settings.bytes(.requestBodyBytes)
        http.increments = settings.integer(.requestIncrements)
        http.unansweredRequests = settings.integer(.unansweredRequests)
        http.connections = settings.integer(.maxConnections)
        var producer = Producer.Configuration()
        producer.outboxBytes = settings.bytes(.outboxBytes)
        producer.queueBytes = settings.bytes(.queueBytes)
        producer.batchBytes = settings.bytes(.batchBytes)
        return WebNode.Configuration(
            address: settings.endpoint(.listen),
            eventLoops: settings.optionalInteger(.eventLoops) ?? ResourceLimits.processors, http: http,
            producer: producer, link: access.link, names: access.names)
    }
}
