// Writers that post without end while the test kills what it likes, and write every request's fate to the ledger.
//
// A writer whose connection is lost does not send the same request again, because it cannot know: it records
// `unknown` and goes on. With an Idempotency-Key it does, through either node, until it is acknowledged; some that
// were acknowledged it sends once more, which must change nothing. `pause` stops all of them between two requests,
// so that totals can be compared.

import Dispatch
import Glibc
import ServiceKit
import Synchronization

/// Which port each node listens on now; nil while it is known to be dead.
public final class NodeBook: Sendable {
    private let ports: Mutex<[UInt16?]>

    public init(_ ports: [UInt16?]) { self.ports = Mutex(ports) }

    public subscript(node: Int) -> UInt16? {
        get { ports.withLock { $0[node] } }
        set { ports.withLock { $0[node] = newValue } }
    }

    public var count: Int { ports.withLock { $0.count } }
}

/// How writers behave, where it is not as above.
public struct LoadStyle: Sendable {
    /// Between two requests of a writer.
    public var paceMicroseconds: UInt32 = 0
    /// Whether requests have increments on shared keys, too.
    public var hasBulk = true
    /// For the level of each request; nil for the product's default.
    public var waitSeconds: Int?
    /// One request in so many waits until it is stored.
    public var storedOnceIn = 10
    /// For an answer.
    public var timeoutSeconds = 15
    /// How long an idempotent request is tried again.
    public var retrySeconds = 30.0
    /// Whether an idempotent request whose fate is open stays open when the writers are to pause.
    public var givesUpWhenPaused = false
    /// How many acknowledged idempotent requests a writer keeps, to send one of them again now and then.
    public var remembered = 0

    public init() {}
}

/// A number of writers. Made, paused, resumed and stopped by one thread.
public final class Load {
    private let state: LoadState
    private let threads: [ServiceThread]

    /// - Parameter nodes: writers choose among these for each request.
    public init(_ nodes: NodeBook, writers: Int, seed: UInt64, style: LoadStyle = LoadStyle()) {
        let state = LoadState(nodes, style)
        self.state = state
        threads = (0..<writers).map { number in
            ServiceThread(name: "writer-\(number)") { Writer(state, number: number, seed: seed).run() }
        }
    }

    /// Everything recorded so far.
    public var ledger: Ledger { state.ledger.withLock { $0.ledger } }

    /// Changes what is recorded, between two records.
    public func change(_ body: (inout Ledger) -> Void) { state.ledger.withLock { body(&$0.ledger) } }

    /// Increments of requests that were acknowledged before and sent again.
    public var repeated: Int { state.ledger.withLock { $0.repeated } }

    /// Requests acknowledged by a node.
    public func acknowledged(by node: Int) -> Int { state.ledger.withLock { $0.acknowledgedByNode[node] } }

    /// What no client should ever see: unexpected answers.
    public var complaints: [String] { state.ledger.withLock { $0.complaints } }

    /// Waits until every writer stands between two requests.
    public func pause(within seconds: Double = 60) throws(HarnessError) {
        state.phase.store(.paused, ordering: .sequentiallyConsistent)
        for _ in threads where state.parked.wait(timeout: .now() + seconds) == .timedOut {
            throw HarnessError("not within \(seconds) s: every writer has the answer to its request")
        }
    }

    public func resume() {
        state.phase.store(.running, ordering: .sequentiallyConsistent)
        for _ in threads { state.released.signal() }
    }

    /// Ends the writers, paused or not, and returns the whole ledger.
    @discardableResult
    public func stop() -> Ledger {
        let before = state.phase.exchange(.stopped, ordering: .sequentiallyConsistent)
        if before == .stopped { return ledger }
        for _ in threads { state.released.signal() }
        for thread in threads { thread.join() }
        return ledger
    }
}

/// What the writers share.
private final class LoadState: Sendable {
    enum Phase: UInt8, AtomicRepresentable { case running, paused, stopped }

    struct Recorded {
        var ledger = Ledger()
        var acknowledgedByNode: [Int]
        var complaints: [String] = []
        var repeated = 0
    }

    let nodes: NodeBook
    let style: LoadStyle
    let phase = Atomic<Phase>(.running)
    let parked = DispatchSemaphore(value: 0)
    let released = DispatchSemaphore(value: 0)
    let ledger: Mutex<Recorded>

    init(_ nodes: NodeBook, _ style: LoadStyle) {
        self.nodes = nodes
        self.style = style
        ledger = Mutex(Recorded(acknowledgedByNode: Array(repeating: 0, count: nodes.count)))
    }

    var isStopped: Bool { phase.load(ordering: .sequentiallyConsistent) == .stopped }
    var isPaused: Bool { phase.load(ordering: .sequentiallyConsistent) == .paused }

    /// Stands still while paused; false when it is time to end.
    func mayGoOn() -> Bool {
        if isPaused {
            parked.signal()
            released.wait()
        }
        return !isStopped
    }

    func complain(_ text: String) {
        ledger.withLock { if $0.complaints.count < 20 { $0.complaints.append(text) } }
    }
}

/// One thread of requests.
private struct Writer {
    private enum Result {
        case fate(Fate)
        /// Nothing was sent.
        case unsent
    }

    private let state: LoadState
    private var maker: RequestMaker
    private var random: SeededRandom
    private var connections: [HTTPConnection?]
    private var ports: [UInt16?]
    /// Acknowledged idempotent requests, newest last.
    private var remembered: [RequestMaker.Made] = []

    init(_ state: LoadState, number: Int, seed: UInt64) {
        self.state = state
        let style = state.style
        maker = RequestMaker(
            seed: seed, writer: number, hasBulk: style.hasBulk, waitSeconds: style.waitSeconds,
            storedOnceIn: style.storedOnceIn)
        random = SeededRandom(seed: seed &+ 1, part: number)
        connections = Array(repeating: nil, count: state.nodes.count)
        ports = Array(repeating: nil, count: state.nodes.count)
    }

    consuming func run() {
        while state.mayGoOn() {
            let made = maker.next()
            if made.isIdempotent { postUntilAcknowledged(made) } else { postOnce(made) }
            if !remembered.isEmpty, random.once(in: 12) { repeatOne() }
            if state.style.paceMicroseconds > 0 { usleep(state.style.paceMicroseconds) }
        }
    }

    /// Sends something again that was acknowledged, which must change nothing.
    private mutating func repeatOne() {
        let made = remembered[Int.random(in: 0..<remembered.count, using: &random)]
        _ = attempt(made, Int.random(in: 0..<connections.count, using: &random))  // whatever the answer is
        noteRepeat(made)
    }

    private func noteRepeat(_ made: RequestMaker.Made) {
        state.ledger.withLock { $0.repeated += made.posting.increments.count }
    }

    private mutating func remember(_ made: RequestMaker.Made) {
        guard state.style.remembered > 0 else { return }
        if remembered.count >= state.style.remembered { remembered.removeFirst() }
        remembered.append(made)
    }

    /// Once, to whichever node takes it.
    private mutating func postOnce(_ made: RequestMaker.Made) {
        while !state.isStopped {
            let node = Int.random(in: 0..<connections.count, using: &random)
            if case .fate(let fate) = attempt(made, node) { return record(made.posting, fate, node) }
            if state.isPaused { return }
            usleep(2000)  // a pace, not a wait: nobody listens there now
        }
    }

    /// Again and again, through any node, while the fate is open.
    private mutating func postUntilAcknowledged(_ made: RequestMaker.Made) {
        let watch = Stopwatch()
        var mayHaveCounted = false
        while !state.isStopped && watch.seconds < state.style.retrySeconds {
            if state.isPaused, state.style.givesUpWhenPaused { break }
            let node = Int.random(in: 0..<connections.count, using: &random)
            switch attempt(made, node) {
            case .fate(.acknowledged):
                record(made.posting, .acknowledged, node)
                remember(made)
                if random.once(in: 4) {
                    _ = attempt(made, (node + 1) % connections.count)  // must change nothing
                    noteRepeat(made)
                }
                return
            case .fate(.unknown): mayHaveCounted = true
            case .fate(.refused), .fate(.exposed), .fate(.forgotten), .unsent: usleep(2000)  // a pace, not a wait
            }
        }
        record(made.posting, mayHaveCounted ? .unknown : .refused, 0)
    }

    private func record(_ posting: Posting, _ fate: Fate, _ node: Int) {
        state.ledger.withLock {
            $0.ledger.record(posting, fate, by: ports[node])
            if fate == .acknowledged { $0.acknowledgedByNode[node] += 1 }
        }
        if fate == .refused { usleep(2000) }  // a pace: refusals would use up the digits
    }

    private mutating func attempt(_ made: RequestMaker.Made, _ node: Int) -> Result {
        guard let connection = connection(to: node) else { return .unsent }
        do throws(HTTPTrouble) {
            return .fate(judge(try connection.send(made.request), made))
        } catch {
            connections[node] = nil
            if case .notConnected = error { return .unsent }
            return .fate(.unknown)
        }
    }

    private mutating func connection(to node: Int) -> HTTPConnection? {
        let port = state.nodes[node]
        if port == ports[node], let open = connections[node], open.isOpen { return open }
        ports[node] = port
        connections[node] = nil
        guard let port else { return nil }
        do throws(HTTPTrouble) { connections[node] = try open(port) } catch { return nil }
        return connections[node]
    }

    private func open(_ port: UInt16) throws(HTTPTrouble) -> HTTPConnection {
        try HTTPConnection(port: port, timeoutSeconds: state.style.timeoutSeconds)
    }

    private func judge(_ answer: HTTPAnswer, _ made: RequestMaker.Made) -> Fate {
        switch answer.status {
        case 200, 202:
            let count = made.posting.increments.count
            guard answer.accepted == count, let level = answer.level else {
                state.complain("\(answer.status) for \(count) increments: \(answer.text)")
                return .unknown
            }
            return level == "memory" ? .unknown : .acknowledged
        case 503:
            if answer.header("retry-after").flatMap({ Int($0) }) == nil { state.complain("503 without Retry-After") }
            return .refused
        default:
            state.complain("\(answer.status) for \(made.request.target): \(answer.text)")
            return (400..<500).contains(answer.status) ? .refused : .unknown
        }
    }
}
