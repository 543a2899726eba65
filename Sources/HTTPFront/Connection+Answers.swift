// The answering side of a connection: the order of answers, one write for many, and the last answer.

import Glibc
import ServiceKit
import TallyCore

extension Connection {
    func answer(_ count: Int, _ level: Level, asked: Level, _ persistence: Persistence) {
        if answers.isEmpty {
            borrowSpareOutput()
            front.writer.accepted(count, level, isComplete: level >= asked, persistence, quota: quota, to: &output)
        } else {
            answers.append(
                .init(answer: .reached(level), count: count, asked: asked, persistence: persistence, quota: quota))
        }
        if persistence == .closes { mode = .ending }
    }

    func answer(_ problem: Problem, _ persistence: Persistence, isHead: Bool) {
        front.statistics.count(problem)
        answer(persistence) { front.writer.problem(problem, persistence, isHead: isHead, quota: quota, to: &$0) }
    }

    func answer(_ body: [UInt8], _ type: ContentType, _ status: Status, _ persistence: Persistence) {
        let isHead = parser.head.method == .head
        let retryAfter = status == .serviceUnavailable ? 1 : nil
        answer(persistence) {
            front.writer.document(
                status, body, type, persistence, isHead: isHead, retryAfter: retryAfter, quota: quota, to: &$0)
        }
    }

    /// Writes an answer now, or later when earlier ones are pending.
    func answer(_ persistence: Persistence, _ write: (inout [UInt8]) -> Void) {
        if answers.isEmpty {
            borrowSpareOutput()
            write(&output)
        } else {
            var bytes: [UInt8] = []
            write(&bytes)
            answers.append(.init(answer: .written(bytes), count: 0, asked: .memory, persistence: persistence))
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
        borrowSpareOutput()
        while let slot = answers.popReady() {
            switch slot.answer {
            case .pending: preconditionFailure("a pending answer left the queue")
            case .reached(let level):
                front.writer.accepted(
                    slot.count, level, isComplete: level >= slot.asked, slot.persistence, quota: slot.quota,
                    to: &output)
            case .problem(let problem):
                front.statistics.count(problem)
                front.writer.problem(problem, slot.persistence, isHead: false, quota: slot.quota, to: &output)
            case .written(let bytes): output += bytes
            }
        }
        if owesContinue, answers.isEmpty {
            owesContinue = false
            output += AnswerWriter.interimContinue
        }
    }

    /// Writes `output`, and ends the connection when that was the last.
    func flush() {
        if mode == .closed { return }
        if isWritable, !output.isEmpty { write() }
        if mode == .ending, answers.isEmpty, output.isEmpty { endOutput() }
        if mode == .closed { return }
        updateReading()
        updateWait()
        // In the next turn: others are not kept waiting by whoever sends many requests for much.
        if canGoOn { front.goOnLater(self) }
    }

    /// The next turn of a connection that could not answer everything in the one before.
    func goOn() {
        resume()
        flush()
    }

    /// An idle connection owns no buffer: who writes takes the loop's, and who is done gives it back.
    private func borrowSpareOutput() {
        if output.isEmpty { swap(&output, &front.spareOutput) }
    }

    private func returnSpareOutput() {
        if output.capacity <= LoopFront.spareBytesMax { swap(&output, &front.spareOutput) }
        output = []
    }

    /// What the socket does not take stays.
    private func write() {
        let count = output.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
        if count == output.count {
            output.removeAll(keepingCapacity: true)
            returnSpareOutput()
            return
        }
        if count < 0, errno != EAGAIN, errno != EINTR { return close() }
        if count > 0 { output.removeFirst(count) }
        isWritable = false
        isNewWait = isNewWait || count > 0
    }

    func becameWritable() {
        guard mode != .closed, !isWritable else { return }
        isWritable = true
        write()
        if mode == .closed { return }
        if isWritable { resume() }
        flush()
    }
}

extension Problem {
    static let draining = Problem(.serviceUnavailable, "the server is shutting down", retryAfterSeconds: 1)
    static let noMemory = Problem(
        .serviceUnavailable, "unfinished requests and answers that nobody takes fill the node's memory for them",
        retryAfterSeconds: 1)
    static func tooManyOfAddress(_ most: Int) -> Problem {
        Problem(
            .serviceUnavailable, "there are too many connections from this address: \(most) may be open",
            retryAfterSeconds: 1)
    }

    static let tooManyConnections = Problem(
        .serviceUnavailable, "there are too many connections", retryAfterSeconds: 1)
}
