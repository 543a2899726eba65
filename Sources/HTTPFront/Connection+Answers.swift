// The answering side of a connection: the order of answers, one write for many, and the last answer.

import NIOCore
import TallyCore

extension Connection {
    func answer(_ count: Int, _ level: Level, asked: Level, _ persistence: Persistence) {
        if answers.isEmpty {
            front.writer.accepted(count, level, isComplete: level >= asked, persistence, to: &output)
        } else {
            answers.append(.init(answer: .reached(level), count: count, asked: asked, persistence: persistence))
        }
        if persistence == .closes { mode = .ending }
    }

    func answer(_ problem: Problem, _ persistence: Persistence, isHead: Bool) {
        answer(persistence) { front.writer.problem(problem, persistence, isHead: isHead, to: &$0) }
    }

    func answer(json: [UInt8], _ status: Status, _ persistence: Persistence) {
        let isHead = parser.head.method == .head
        let retryAfter = status == .serviceUnavailable ? 1 : nil
        answer(persistence) {
            front.writer.json(status, json, persistence, isHead: isHead, retryAfter: retryAfter, to: &$0)
        }
    }

    /// Writes an answer now, or later when earlier ones are pending.
    func answer(_ persistence: Persistence, _ write: (inout ByteBuffer) -> Void) {
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
    func writeReady() {
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
    func flush() {
        guard let context, mode == .open || mode == .ending else { return }
        let isLast = mode == .ending && answers.isEmpty
        if output.readableBytes > 0 {
            var bytes = ByteBuffer()
            swap(&bytes, &output)
            if isLast {
                let written = context.eventLoop.makePromise(of: Void.self)
                written.futureResult.assumeIsolated().whenComplete { _ in self.endOutput() }
                mode = .lingering
                front.setDeadline(index, front.idlePatience)
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
        front.setDeadline(index, front.lingerPatience)
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

extension Problem {
    static let draining = Problem(.serviceUnavailable, "the server is shutting down", retryAfterSeconds: 1)
    static let tooManyConnections = Problem(
        .serviceUnavailable, "there are too many connections", retryAfterSeconds: 1)
}
