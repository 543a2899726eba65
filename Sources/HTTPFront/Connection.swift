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

final class Connection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum Mode {
        case open
        /// The last answer waits in the queue or in `output`; what arrives is dropped.
        case ending
        /// The last answer is on its way, then the socket is shut down for writing.
        case lingering
        case closed
    }

    /// What the connection waits for; each has its own deadline.
    private enum Wait {
        case nothing, request, head, body, peerToRead
    }

    let front: LoopFront
    private var context: ChannelHandlerContext?
    private var index: UInt32 = 0
    private var generation: UInt32 = 0
    private var mode = Mode.open
    private var wait = Wait.nothing
    private var parser = RequestParser()
    /// The bytes of the request that `parser` is reading, and what came after it while reading was stopped.
    private var saved: [UInt8] = []
    private var answers = AnswerQueue()
    private var output = ByteBuffer()
    private var owesContinue = false
    private var isRegistered = false
    private var isReading = true
    private var isWritable = true
    private var inputEnded = false
    private var outputEnded = false

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
        updateWait(after: true)
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
                    wait = .nothing
                    used += length
                }
            } catch {
                answer(Problem(error), .closes, isHead: false)
            }
        }
        return used
    }

    private func processSaved() {
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

    /// Refuses at once what need not be read to its end, and asks for a body that waits to be asked for.
    private func headIsComplete() {
        let head = parser.head
        let isWaiting = head.expectsContinue && !head.isHTTP10
        if let problem = head.problem(front.limits) {
            if isWaiting || problem.status == .contentTooLarge || problem.status == .notImplemented {
                answer(problem, .closes, isHead: head.method == .head)
            }
            return
        }
        if !isWaiting || !head.announcesBody { return }
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
        if let problem = head.problem(front.limits) {
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

// MARK: - Answering

extension Connection {
    private func answer(_ count: Int, _ level: Level, asked: Level, _ persistence: Persistence) {
        if answers.isEmpty {
            front.writer.accepted(count, level, isComplete: level >= asked, persistence, to: &output)
        } else {
            answers.append(.init(answer: .reached(level), count: count, asked: asked, persistence: persistence))
        }
        if persistence == .closes { mode = .ending }
    }

    private func answer(_ problem: Problem, _ persistence: Persistence, isHead: Bool) {
        answer(persistence) { front.writer.problem(problem, persistence, isHead: isHead, to: &$0) }
    }

    private func answer(json: [UInt8], _ status: Status, _ persistence: Persistence) {
        let isHead = parser.head.method == .head
        let retryAfter = status == .serviceUnavailable ? 1 : nil
        answer(persistence) {
            front.writer.json(status, json, persistence, isHead: isHead, retryAfter: retryAfter, to: &$0)
        }
    }

    /// Writes an answer now, or later when earlier ones are pending.
    private func answer(_ persistence: Persistence, _ write: (inout ByteBuffer) -> Void) {
        if answers.isEmpty {
            write(&output)
        } else {
            var bytes = ByteBuffer()
            write(&bytes)
            answers.append(
                .init(
                    answer: .written(Array(bytes.readableBytesView)), count: 0, asked: .memory,
                    persistence: persistence))
        }
        if persistence == .closes { mode = .ending }
    }

    /// Notes the answer to a pending request; true when something can be written now.
    func complete(_ sequence: UInt32, _ answer: AnswerQueue.Answer) -> Bool {
        answers.complete(sequence, answer) && answers.isFirstReady
    }

    /// After one or more requests were completed.
    func settleCompleted() {
        if mode == .closed { return }
        writeReady()
        resume()
        flush()
    }

    /// Moves the answers whose turn has come to `output`.
    private func writeReady() {
        while let slot = answers.popReady() {
            switch slot.answer {
            case .pending: preconditionFailure("a pending answer left the queue")
            case .reached(let level):
                front.writer.accepted(
                    slot.count, level, isComplete: level >= slot.asked, slot.persistence, to: &output)
            case .problem(let problem):
                front.writer.problem(problem, slot.persistence, isHead: false, to: &output)
            case .written(let bytes): output.writeBytes(bytes)
            }
        }
        if owesContinue, answers.isEmpty {
            owesContinue = false
            output.writeStaticString(AnswerWriter.interimContinue)
        }
    }

    /// Writes `output` in one piece, and ends the connection when that was the last.
    private func flush() {
        guard let context, mode == .open || mode == .ending else { return }
        let isLast = mode == .ending && answers.isEmpty
        if output.readableBytes > 0 {
            var bytes = ByteBuffer()
            swap(&bytes, &output)
            if isLast {
                let written = context.eventLoop.makePromise(of: Void.self)
                written.futureResult.assumeIsolated().whenComplete { _ in self.endOutput() }
                mode = .lingering
                front.setDeadline(index, milliseconds: front.limits.idleMilliseconds)
                context.writeAndFlush(wrapOutboundOut(bytes), promise: written)
                return
            }
            context.writeAndFlush(wrapOutboundOut(bytes), promise: nil)
        } else if isLast {
            return close()
        }
        updateReading()
        updateWait()
    }

    /// The last answer has been handed to the kernel, or cannot be.
    private func endOutput() {
        guard let context, mode == .lingering else { return }
        if inputEnded { return close() }
        outputEnded = true
        front.setDeadline(index, milliseconds: front.limits.lingerMilliseconds)
        setReading(true)
        context.close(mode: .output, promise: nil)
    }

    func close() {
        guard let context else { return }
        context.close(promise: nil)
    }

    /// Ends the connection as soon as everything that was begun is answered.
    func drain() {
        guard mode == .open else { return }
        if answers.isEmpty, saved.isEmpty, isWritable { return close() }
        if answers.isEmpty, !isWritable {
            mode = .lingering
            return endOutput()
        }
        // Requests that were not begun are not answered: the last answer says that it is the last.
        if saved.isEmpty || !isReading {
            answers.closeAfterLast()
            mode = .ending
        }
    }
}

// MARK: - Pace

extension Connection {
    /// Reads on when there is room again.
    private func resume() {
        if mode == .open, !isReading, hasRoom, !saved.isEmpty { processSaved() }
    }

    private var hasRoom: Bool { isWritable && answers.count < front.limits.unansweredRequests }

    private func updateReading() {
        if hasRoom != isReading { setReading(hasRoom) }
    }

    private func setReading(_ reads: Bool) {
        guard isReading != reads, let context else { return }
        isReading = reads
        do {
            try context.channel.syncOptions?.setOption(ChannelOptions.autoRead, value: reads)
        } catch {
            close()  // the channel has closed meanwhile
        }
    }

    /// Sets the deadline of what the connection waits for now; `after` a new beginning, even if it is the same.
    private func updateWait(after beginning: Bool = false) {
        let next: Wait
        if !isWritable {
            next = .peerToRead
        } else if !isReading || mode != .open {
            next = .nothing
        } else if parser.isInBody {
            next = .body
        } else if !saved.isEmpty {
            next = .head
        } else {
            next = answers.isEmpty ? .request : .nothing
        }
        if next == wait, !beginning { return }
        wait = next
        switch next {
        case .nothing: front.clearDeadline(index)
        case .request, .peerToRead: front.setDeadline(index, milliseconds: front.limits.idleMilliseconds)
        case .head: front.setDeadline(index, milliseconds: front.limits.headMilliseconds)
        case .body: front.setDeadline(index, milliseconds: front.limits.bodyMilliseconds)
        }
    }

    /// The deadline has passed.
    func timeIsUp() {
        guard mode == .open, wait == .head || wait == .body else { return close() }
        let part = wait == .head ? "head" : "body"
        answer(Problem(.requestTimeout, "the \(part) of the request did not arrive in time"), .closes, isHead: false)
        flush()
    }
}

extension Problem {
    static let draining = Problem(.serviceUnavailable, "the server is shutting down", retryAfterSeconds: 1)
    static let tooManyConnections = Problem(
        .serviceUnavailable, "there are too many connections", retryAfterSeconds: 1)
}
