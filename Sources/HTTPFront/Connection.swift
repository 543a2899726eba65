// One connection: bytes in, answers out, in order.
//
// A read is parsed in place; only the rest of an unfinished request is kept, so an idle connection owns no buffer.
// The answers of one read leave in one write. When too many requests are unanswered, or the peer does not take our
// answers, reading stops and the bytes wait in the socket: that is backpressure, not an error.
//
// The last answer of a connection says `Connection: close`; what comes after it is for Connection+Linger.

import Glibc
import ServiceKit
import TallyCore
import Tokens

/// Its hot properties are exempt from the run-time check for overlapping access, which costs a lookup each: they are
/// touched on one loop only, and no method passes one of them along while another touches it.
final class Connection: DescriptorHandler {
    enum Mode {
        case open
        /// The last answer waits in the queue or in `output`; what arrives is dropped.
        case ending
        /// The last answer is on its way, then the socket is shut down for writing.
        case lingering
        case closed
    }

    /// What the connection waits for; each has its own deadline.
    enum Wait {
        case nothing, request, head, body, peerToRead
    }

    let front: LoopFront
    let descriptor: Int32
    /// nil before `open` and after `close`.
    @exclusivity(unchecked) var watch: Watch?
    /// What the loop reports.
    @exclusivity(unchecked) var wanted: IOEvents = .readable
    var index: UInt32 = 0
    var generation: UInt32 = 0
    @exclusivity(unchecked) var mode = Mode.open
    @exclusivity(unchecked) var wait = Wait.nothing
    /// A request has been read, or output taken, since the deadline was set: the same wait begins anew.
    @exclusivity(unchecked) var isNewWait = true
    @exclusivity(unchecked) var parser = RequestParser()
    /// The bytes of the request that `parser` is reading, and what came after it while reading was stopped.
    @exclusivity(unchecked) var saved: [UInt8] = []
    @exclusivity(unchecked) var answers = AnswerQueue()
    /// Answers that the socket has not taken; while a call is writing, also new ones.
    @exclusivity(unchecked) var output: [UInt8] = []
    /// Of the request that `parser` is reading: what is left to its token, if that has a limit.
    @exclusivity(unchecked) var quota: Quota?
    var owesContinue = false
    /// `saved` may begin with whole requests: there was no room for their answers.
    @exclusivity(unchecked) var isHeldBack = false
    /// What the loop's `memory` knows that this connection holds.
    @exclusivity(unchecked) var notedBytes = 0
    /// Whether it waits for memory to read on.
    @exclusivity(unchecked) var isStarving = false
    @exclusivity(unchecked) var isReading = true
    /// False: the peer does not take our answers as fast as we make them.
    @exclusivity(unchecked) var isWritable = true
    var inputEnded = false
    /// While lingering: the sweep at which that ends, and how many bytes it has dropped.
    var lingerEnd: UInt64 = 0
    var lingeredBytes = 0

    /// Whether it has brought increments that were admitted, or a known token; and in which sweep it did so last, or
    /// began.
    @exclusivity(unchecked) var isProven = false
    @exclusivity(unchecked) var provenAt: UInt64 = 0
    /// The how many-th connection of its loop it is.
    let number: UInt64
    /// Who is at the other end, if that is counted.
    let peer: PeerAddress?

    init(front: LoopFront, descriptor: Int32, peer: PeerAddress? = nil) {
        self.front = front
        self.descriptor = descriptor
        self.peer = peer
        number = front.nextNumber()
        provenAt = front.sweeps
    }

    /// Begins to serve, or says why not.
    ///
    /// - Parameter refusal: why not, if that is known already.
    func open(refusal: Problem? = nil) {
        let obstacle = refusal ?? front.obstacle()
        if let obstacle, !front.canLinger { return turnAway(obstacle) }
        (index, generation) = front.register(self)
        do throws(Failure) {
            watch = try front.loop.watch(descriptor, wanted, self)
        } catch {
            return close()  // the system has no room for another one; the peer sees the end
        }
        guard let obstacle else { return updateWait() }
        answer(obstacle, .closes, isHead: false)
        flush()
    }

    /// Without a place: the answer may get lost.
    private func turnAway(_ problem: Problem) {
        front.statistics.count(problem)
        front.writer.problem(problem, .closes, isHead: false, to: &output)
        mode = .closed
        _ = output.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }  // or it is gone
        Glibc.close(descriptor)
        front.sockets?.closed(peer)
    }

    // MARK: From the socket

    func isReady(_ events: IOEvents) {
        if events.contains(.writable) { becameWritable() }
        if mode == .closed { return }
        if isReading, !inputEnded {
            read()
        } else if !events.isDisjoint(with: .hungUp) {
            close()
        }
    }

    /// One read a turn: a peer that sends without end does not keep the others waiting.
    private func read() {
        let count = recv(descriptor, front.input.baseAddress, front.input.count, 0)
        if count < 0 {
            if errno != EAGAIN, errno != EINTR { close() }
            return
        }
        if count == 0 { return endInput() }
        if mode == .lingering { return drop(count) }
        if mode == .open { take(UnsafeRawBufferPointer(rebasing: front.input[..<count])) }
        flush()
        if mode == .open, !saved.isEmpty, count < front.input.count { acknowledge() }
    }

    /// The rest of a request is missing. A client that writes its head and its body apart, with Nagle's algorithm,
    /// sends the body when the head is acknowledged, which the kernel would put off by 40 ms.
    private func acknowledge() {
        var one: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_QUICKACK, &one, socklen_t(MemoryLayout<Int32>.size))
    }

    private func take(_ bytes: UnsafeRawBufferPointer) {
        if saved.isEmpty {
            let used = process(bytes)
            if mode == .open { keep(bytes, from: used) }
        } else {
            saved.append(contentsOf: bytes)
            processSaved()
        }
        if mode == .open, heldInput > 0, front.memory.isFull { refuseForMemory() }
    }

    /// The peer sends no more; it may still wait for answers.
    private func endInput() {
        inputEnded = true
        if mode == .lingering { return close() }
        mode = .ending
        forgetInput()
        flush()
    }

    // MARK: Reading

    /// Reads whole requests from `bytes`; returns how many bytes are done with.
    private func process(_ bytes: UnsafeRawBufferPointer) -> Int {
        var used = 0
        while mode == .open, used < bytes.count {
            if !hasRoom {
                isHeldBack = true
                break
            }
            let rest = UnsafeRawBufferPointer(rebasing: bytes[used...])
            if parser.isFresh, let known = front.heads.find(rest) {
                parser = RequestParser(known)
                used += headIsComplete(rest)
                continue
            }
            do throws(Malformed) {
                switch try parser.advance(rest, front.limits) {
                case .needsMore: return used
                case .head:
                    if let stranger = front.hosts?.stranger(in: parser.head, rest) { parser.note(stranger) }
                    front.heads.keep(parser.head, rest)
                    used += headIsComplete(rest)
                case .complete(let length):
                    dispatch(rest)
                    forgetRequest()
                    used += length
                }
            } catch {
                answer(Problem(error), .closes, isHead: false)
            }
        }
        return used
    }

    func processSaved() {
        var bytes: [UInt8] = []
        swap(&bytes, &saved)
        let used = bytes.withUnsafeBytes { process($0) }
        if mode != .open { return }
        bytes.removeSubrange(..<used)
        if let chunks = parser.releaseDecodedChunks() { bytes.removeSubrange(chunks) }
        if !bytes.isEmpty { swap(&bytes, &saved) }
    }

    /// Keeps what `process` left of a read.
    private func keep(_ bytes: UnsafeRawBufferPointer, from used: Int) {
        if used == bytes.count { return }
        saved = Array(bytes[used...])
        if let chunks = parser.releaseDecodedChunks() { saved.removeSubrange(chunks) }
    }

    /// What is decided before the body is read. Returns how many of `bytes`, which begin with the head, are done with:
    /// all of it, if the request is answered and no body follows.
    private func headIsComplete(_ bytes: UnsafeRawBufferPointer) -> Int {
        if let problem = judge(bytes) { return refuse(problem) }
        if parser.head.expectsContinue { meetExpectation() }
        return 0
    }

    /// The next request is read from its first byte.
    func forgetRequest() {
        parser = RequestParser()
        quota = nil
        owesContinue = false
        isNewWait = true
    }

    /// A peer that waits before it sends the body is told whether to send it.
    private func meetExpectation() {
        let head = parser.head
        if head.isHTTP10 { return }
        if let problem = problem(of: head) { return answer(problem, .closes, isHead: head.method == .head) }
        if !head.announcesBody { return }
        if answers.isEmpty {
            output += AnswerWriter.interimContinue
        } else {
            owesContinue = true
        }
    }

    /// Answers the complete request that begins `bytes`, or hands it to the service.
    private func dispatch(_ bytes: UnsafeRawBufferPointer) {
        let head = parser.head
        let persistence = front.isDraining ? .closes : head.persistence
        if let problem = problem(of: head) {
            return answer(problem, persistence, isHead: head.method == .head)
        }
        switch head.route {
        case .increment, .increments:
            guard let counting = front.counting else { preconditionFailure("increments without who counts them") }
            do throws(Problem) {
                try submit(bytes, to: counting, persistence)
            } catch {
                answer(error, persistence, isHead: false)
            }
            if !front.increments.isEmpty { front.increments.removeAll() }
        case .livez: answer(Array(#"{"status":"ok"}"#.utf8), .json, .ok, persistence)
        case .readyz:
            let readiness = front.readiness()
            answer(readiness.json, .json, readiness.isReady ? .ok : .serviceUnavailable, persistence)
        case .ledger: answer(.ledger, .json, persistence)
        case .status: answer(.status, .json, persistence)
        case .metrics: answer(.metrics, .metrics, persistence)
        case .none: preconditionFailure("a route without a resource is a problem")
        }
    }

    private func problem(of head: RequestHead) -> Problem? {
        head.problem(isCounting: front.counting != nil)
    }

    /// A page that this server has, or 404.
    private func answer(_ page: Page, _ type: ContentType, _ persistence: Persistence) {
        if front.memory.isFull {
            return answer(.noMemory, persistence, isHead: parser.head.method == .head)
        }
        guard let document = front.document(page) else {
            return answer(.nothingHere, persistence, isHead: parser.head.method == .head)
        }
        answer(document, type, .ok, persistence)
    }

    private func submit(
        _ bytes: UnsafeRawBufferPointer, to counting: any IncrementService, _ persistence: Persistence
    ) throws(Problem) {
        let head = parser.head
        let idempotencyKey = try head.unquotedIdempotencyKey(bytes)
        let query = head.hasQuery ? head.query.of(bytes) : nil
        let read: Result<Level, Problem> = parser.withBody(bytes) { body in
            do throws(Problem) {
                return .success(try front.reader.read(head, query: query, body: body, into: &front.increments))
            } catch {
                return .failure(error)
            }
        }
        let asked = try read.get()
        let count = front.increments.count
        if count == 0 { return answer(count, asked, asked: asked, persistence) }
        let request = IncrementRequest(
            level: asked,
            waitMilliseconds: head.waitSeconds.map { min(UInt64($0) * 1000, front.limits.waitMillisecondsMax) }
                ?? front.limits.waitMilliseconds,
            idempotencyKey: idempotencyKey)
        let ticket = AnswerTicket(connection: index, generation: generation, sequence: answers.nextSequence)
        switch counting.submit(&front.increments, request, ticket) {
        case .answered(let level):
            prove()
            answer(count, level, asked: asked, persistence)
        case .refused(let refusal): throw Problem(refusal)
        case .pending:
            prove()
            answers.append(
                .init(answer: .pending, count: count, asked: asked, persistence: persistence, quota: quota))
            if persistence == .closes { mode = .ending }
        }
    }
}
