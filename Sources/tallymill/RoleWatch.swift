// What every role has around its work: the admin listener from its first moment, the monitor as long as it works, and
// systemd's patience while it starts and stops.

import Logging
import ServiceKit
import Telemetry
import Tokens

/// The surroundings of a role.
struct RoleWatch {
    /// How long systemd waits further each time that it is told that work goes on.
    static let patienceMilliseconds = 30_000

    let notify: Notify
    let logger: Logger
    private let board = StatusBoard()
    private let admin: AdminServer
    private var monitor: Monitor?

    static var build: Build { Build(version: Version.number, commit: Version.commit) }

    /// Begins to listen.
    ///
    /// - Parameters:
    ///   - defaultPort: of the admin listener, if the settings name none.
    ///   - tokens: demanded outside loopback.
    ///   - connectionsMax: of the admin listener.
    /// - Throws: 69 if the address cannot be had, 78 if others could reach it without a token.
    init(
        _ session: Session, defaultPort: Int, _ tokens: Access?, connectionsMax: Int = AdminServer.connectionsMax,
        logger: Logger
    ) throws(Failure) {
        let port = session.settings.optionalInteger(.adminPort) ?? defaultPort
        notify = Notify(environment: Environment.current)
        self.logger = logger
        admin = try AdminServer(
            on: Endpoint(host: session.settings.text(.adminHost), port: port), board, tokens,
            allowedHosts: session.settings.list(.allowedHosts), connectionsMax: connectionsMax)
        logger.info("administration", metadata: Self.addresses(admin.address, admin.boundAddresses))
    }

    /// For the log: where something listens, as it was asked for, and what is bound if that is not the same.
    static func addresses(_ address: Endpoint, _ bound: [Endpoint]) -> Logger.Metadata {
        var fields: Logger.Metadata = ["address": "\(address)"]
        if bound != [address] { fields["bound"] = "\(bound.map { "\($0)" }.joined(separator: ", "))" }
        return fields
    }

    /// Tells systemd something. The role goes on if systemd cannot be told.
    func tell(_ message: (Notify) throws(Failure) -> Void) {
        do throws(Failure) {
            try message(notify)
        } catch {
            logger.warning("systemd is not told", metadata: error.metadata)
        }
    }

    /// Starting or stopping takes longer.
    func askForPatience() {
        tell { notify throws(Failure) in try notify.extendTimeout(milliseconds: Self.patienceMilliseconds) }
    }

    /// Begins to watch.
    mutating func start(_ makeObserver: @escaping @Sendable () -> any Observer) {
        monitor = Monitor(board: board, notify: notify, logger: logger, makeObserver)
    }

    /// Ends watching and listening, before what is watched ends.
    mutating func stop() {
        monitor?.stop()
        monitor = nil
        admin.stop()
    }

    /// The port of the admin listener of a web node: 10000 beside its own, which the system chooses if it chose that.
    static func port(besideWeb port: Int) -> Int {
        switch port {
        case 0: 0
        case ...55_535: port + 10_000
        default: port - 10_000
        }
    }

    /// The port of the admin listener of a process that consumes `partition` and maybe more.
    static func port(ofConsumer partition: UInt32) -> Int { 9_400 + Int(partition) }
}
