// The admin listener of a role: a server of its own on a loop of its own, so that it answers while the role is busy and
// never gets in its way. It serves what stands on the board and asks nobody.

import HTTPFront
public import ServiceKit
public import Tokens

/// A running admin listener.
public final class AdminServer: Sendable {
    /// Connections that are served, and as many that have their last answer.
    public static let connectionsMax = 64
    private let server: HTTPServer

    /// Where it listens, with the port that the system chose if 0 was asked for.
    public var address: Endpoint { server.address }
    /// All addresses that are bound.
    public var boundAddresses: [Endpoint] { server.boundAddresses }

    /// Listens and serves.
    ///
    /// - Parameters:
    ///   - tokens: demanded, with the scope admin, unless only this machine reaches the address.
    ///   - allowedHosts: where none are demanded, names under which requests may ask beside those of this machine.
    ///   - connectionsMax: lower where there are few descriptors.
    /// - Throws: 69 if the address cannot be had, 74 if the system has no descriptors left, 78 if other machines reach
    ///   the address and there are no tokens.
    public init(
        on address: Endpoint, _ board: StatusBoard, _ tokens: Access?, allowedHosts: [String] = [],
        connectionsMax: Int = AdminServer.connectionsMax
    ) throws(Failure) {
        var limits = HTTPLimits()
        limits.connections = connectionsMax
        limits.lingeringConnections = connectionsMax
        do throws(Failure) {
            server = try HTTPServer(
                on: address, eventLoops: 1, limits: limits, access: address.isLoopback ? nil : tokens,
                allowedHosts: allowedHosts
            ) { _ in AdminPages(board) }
        } catch {
            throw Self.explained(error)
        }
    }

    /// The failure of a listener, with the advice that fits this one.
    private static func explained(_ failure: Failure) -> Failure {
        let advice: String
        switch failure.code {
        case .unavailable:
            advice = "Another program may have it: --admin-port takes another one, 0 lets the system choose."
        case .configuration:
            advice =
                "Make one, `tallymill token new NAME --scopes admin --append FILE`, and name the file with "
                + "--tokens-file; or leave --admin-host at 127.0.0.1."
        default: return failure
        }
        return Failure(failure.code, failure.what, at: failure.location, advice: advice)
    }

    /// Closes everything; once.
    public func stop() {
        server.shutdown()
    }
}

/// The pages of an admin listener.
private final class AdminPages: HTTPService {
    private let board: StatusBoard

    init(_ board: StatusBoard) {
        self.board = board
    }

    func readiness() -> Readiness {
        board.look?.readiness
            ?? Readiness(isReady: false, json: #"{"ready":false,"reason":"the first look has not ended yet"}"#)
    }

    func document(_ page: Page) -> [UInt8]? {
        switch page {
        case .ledger: nil
        case .status: board.look?.status() ?? Array(readiness().json.utf8)
        case .metrics: board.look?.metrics() ?? []
        }
    }
}
