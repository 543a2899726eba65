// The thread that makes the readings of `top`: Redis, shards and nodes may each take a second to answer, or not to, and
// the keys of the person at the screen must not wait for them.

import Operations
import ServiceKit
import Supervision
import TallyCore
import Tokens

/// Readings, one after the other, until it is stopped.
final class TopFeed: Sendable {
    let readings: LatestValue<TopReading>
    private let ending = Mailbox<Void>()

    /// Starts at once.
    ///
    /// - Parameters:
    ///   - nodes: to be asked; none for that of the `up` in the data folder, if one runs.
    ///   - everyMilliseconds: from the start of a reading to that of the next.
    /// - Throws: 78 if the file of `--token-file` cannot be used.
    init(_ session: Session, _ nodes: [AuditCommand.NodeAddress], everyMilliseconds: Int) throws(Failure) {
        let token = try session.token()
        readings = try LatestValue()
        let (readings, ending) = (readings, ending)
        let thread = ServiceThread(name: "top") {
            let asker = NodeAsker(session.folder.path, nodes, token)
            let sampler = TopSampler(
                session.folder,
                access: { () throws(Failure) in try session.redis(clientName: "tallymill-top") },
                nodes: { asker.ask() })
            var next = MonotonicClock.milliseconds()
            var pause: UInt64
            repeat {
                var reading = sampler.read()
                reading.problems = reading.problems.map { session.given.completing($0) }
                readings.send(reading)
                let now = MonotonicClock.milliseconds()
                next = max(next + UInt64(everyMilliseconds), now)
                pause = next - now
            } while ending.receive(waitingMilliseconds: pause) == nil
        }
        _ = thread  // not joined: it may be waiting for somebody who does not answer, and the process ends with `top`
    }

    /// No reading is begun any more.
    func stop() { ending.send(()) }
}

/// Asks the web nodes. Owned by one thread.
private final class NodeAsker {
    private static let patienceSeconds = 1

    private let dataFolder: String
    private let isFixed: Bool
    private let token: TokenSecret?
    private var addresses: [AuditCommand.NodeAddress]

    init(_ dataFolder: String, _ addresses: [AuditCommand.NodeAddress], _ token: TokenSecret?) {
        self.dataFolder = dataFolder
        self.addresses = addresses
        self.token = token
        isFixed = !addresses.isEmpty
    }

    /// What they say, and why one does not.
    func ask() -> ([TopReading.Node], [String]) {
        var problems: [String] = []
        if !isFixed, addresses.isEmpty { findNodeOfUp(&problems) }
        var isSilent = false
        let nodes = addresses.map { address in
            let question = NodeQuestion(address, token: token, patienceSeconds: Self.patienceSeconds)
            do throws(Failure) {
                let ledger = try question.ask()
                return TopReading.Node(address: "\(address)", ledger: ledger, isReady: question.askReadiness())
            } catch {
                isSilent = true
                problems.append(error.sentence)
                return TopReading.Node(address: "\(address)", ledger: nil, isReady: nil)
            }
        }
        // It may have been started again at another port.
        if !isFixed, isSilent { addresses = [] }
        return (nodes, problems)
    }

    private func findNodeOfUp(_ problems: inout [String]) {
        do throws(Failure) {
            if let web = try UpControl.state(dataFolder: dataFolder)?.web,
                let address = AuditCommand.NodeAddress(argument: web)
            {
                addresses = [address]
            }
        } catch {
            problems.append(error.sentence)
        }
    }
}
