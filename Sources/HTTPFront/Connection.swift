// One connection: bytes in, answers out, in order.
//
// A read is parsed in place; only the rest of an unfinished request is kept, so an idle connection owns no buffer.
// The answers of one read leave in one write. When too many requests are unanswered, or the peer does not take our
// answers, reading stops and the bytes wait in the socket: that is backpressure, not an error.
//
// The last answer of a connection says `Connection: close`; then our side of the socket is shut down and the rest
// of what the peer sends is read and dropped for a moment, because closing with unread bytes would send a reset
// that can overtake the answer.

import NIOCore
import TallyCore

/// Its hot properties are exempt from the run-time check for overlapping access, which costs a lookup each: they are
/// touched on one loop only, and no method passes one of them along while another touches it.
final class Connection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

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
    @exclusivity(unchecked) var context: ChannelHandlerContext?
    var index: UInt32 = 0
    var generation: UInt32 = 0
    @exclusivity(unchecked) var mode = Mode.open
    @exclusivity(unchecked) var wait = Wait.nothing
    /// A request has been read since the deadline was set: the same wait begins anew.
    @exclusivity(unchecked) var isNewWait = true
    @exclusivity(unchecked) var parser = RequestParser()
    /// The bytes of the request that `parser` is reading, and what came after it while reading was stopped.
    @exclusivity(unchecked) var saved: [UInt8] = []
    @exclusivity(unchecked) var answers = AnswerQueue()
    @exclusivity(unchecked) var output = ByteBuffer()
    var owesContinue = false
    var isRegistered = false
    @exclusivity(unchecked) var isReading = true
    @exclusivity(unchecked) var isWritable = true
    var inputEnded = false
    var outputEnded = false

    init(front: LoopFront) {
        self.front = front
    }

    // MARK: From the channel

    func channelActive(context: ChannelHandlerContext) {
        self.context = context
        guard let place = front.register(self) else {
            mode = .closed
            let problem: Problem = front.isDraining ? .draining : .tooManyConnections
            front.writer.problem(problem, .closes, isHead: false, to: &output)
            context.writeAndFlush(wrapOutboundOut(output), promise: nil)
            return context.close(promise: nil)
        }
        (index, generation) = place
        isRegistered = true
        updateWait()
    }

    func channelInactive(context: ChannelHandlerContext) {
        mode = .closed
        self.context = nil
        if isRegistered { front.unregister(index) }
        isRegistered = false
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard mode == .open else { return }
        let buffer = unwrapInboundIn(data)
        if saved.isEmpty, isReading {
            buffer.withUnsafeReadableBytes { bytes in
                let used = process(bytes)
                if mode == .open { keep(bytes, from: used) }
            }
        } else {
            buffer.withUnsafeReadableBytes { saved.append(contentsOf: $0) }
            if isReading { processSaved() }
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        flush()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        isWritable = context.channel.isWritable
        if mode == .closed { return }
        resume()
        flush()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard case .some(.inputClosed) = event as? ChannelEvent else { return }
        inputEnded = true
        if mode == .open { mode = .ending }
        if mode == .lingering, outputEnded { close() }
        flush()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        close()
    }

    // MARK: Reading

    /// Reads whole requests from `bytes`; returns how many bytes are done with.
    private func process(_ bytes: UnsafeRawBufferPointer) -> Int {
        var used = 0
        while mode == .open, used < bytes.count {
            if answers.count >= front.limits.unansweredRequests { break }
            let rest = UnsafeRawBufferPointer(rebasing: bytes[used...])
            do throws(Malformed) {
                switch try parser.advance(rest, front.limits) {
                case .needsMore: return used
                case .head: headIsComplete()
                case .complete(let length):
                    dispatch(rest)
                    parser = RequestParser()
                    owesContinue = false
                    isNewWait = true
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

    /// A peer that waits before it sends the body is told whether to send it.
    private func headIsComplete() {
        let head = parser.head
        let isWaiting = head.expectsContinue && !head.isHTTP10
        if !isWaiting { return }
        if let problem = head.problem { return answer(problem, .closes, isHead: head.method == .head) }
        if !head.announcesBody { return }
        if answers.isEmpty {
            output.writeStaticString(AnswerWriter.interimContinue)
        } else {
            owesContinue = true
        }
    }

    /// Answers the complete request that begins `bytes`, or hands it to the service.
    private func dispatch(_ bytes: UnsafeRawBufferPointer) {
        let head = parser.head
        let persistence = front.isDraining ? .closes : head.persistence
        if let problem = head.problem {
            return answer(problem, persistence, isHead: head.method == .head)
        }
        switch head.route {
        case .increment, .increments:
            do throws(Problem) {
                try submit(bytes, persistence)
            } catch {
                answer(error, persistence, isHead: false)
            }
            front.increments.removeAll()
        case .livez: answer(json: Array(#"{"status":"ok"}"#.utf8), .ok, persistence)
        case .readyz:
            var readiness = front.service.readiness()
            if front.isDraining { readiness = Readiness(isReady: false, json: #"{"status":"draining"}"#) }
            answer(json: Array(readiness.json.utf8), readiness.isReady ? .ok : .serviceUnavailable, persistence)
        case .none: preconditionFailure("a route without a resource is a problem")
        }
    }

    private func submit(_ bytes: UnsafeRawBufferPointer, _ persistence: Persistence) throws(Problem) {
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
        switch front.service.submit(&front.increments, request, ticket) {
        case .answered(let level): answer(count, level, asked: asked, persistence)
        case .refused(let refusal): throw Problem(refusal)
        case .pending:
            answers.append(.init(answer: .pending, count: count, asked: asked, persistence: persistence))
            if persistence == .closes { mode = .ending }
        }
    }
}
