// Requests that the campaign sends itself, one at a time: some under an Idempotency-Key, to be sent again at a later
// step, as a client does that has missed the answer.

import ServiceKit

/// A request that may be sent again.
struct CampaignQuestion {
    let posting: Posting
    let idempotencyKey: String
    /// When it was sent first, by the monotonic clock.
    let sentAt: UInt64
    /// Whether the ledger has it.
    var isRecorded = false
}

extension CampaignRun {
    /// So long after the first time a request may be sent again where keys are kept for a short time only.
    private static let repeatMilliseconds: UInt64 = 4_000

    private func nextPosting(_ name: String) -> Posting {
        var posting = Posting()
        posting.digit = questionCount % Ledger.digitsOfKey
        posting.tracerKeys = ["\(name) \(questionCount / Ledger.digitsOfKey)"]
        questionCount += 1
        return posting
    }

    private func send(_ posting: Posting, to port: UInt16, idempotencyKey: String? = nil) -> Fate {
        var request = HTTPRequest("/increments")
        request.headers = [("Content-Type", "text/plain"), ("Prefer", "wait=1")]
        if let idempotencyKey { request.headers.append(("Idempotency-Key", idempotencyKey)) }
        request.body = Array(RequestMaker.lines(posting.increments).utf8)
        let answer = Loopback.ask(port, request, timeoutSeconds: 2)
        switch (answer?.status, answer?.level) {
        case (200, _), (202, "queued"), (202, "stored"): return .acknowledged
        case (503, _): return .refused
        default: return .unknown
        }
    }

    /// One request, recorded like any other.
    func ask(_ port: UInt16) throws(HarnessError) -> Fate {
        let posting = nextPosting("question")
        let fate = send(posting, to: port)
        load.change { $0.record(posting, fate, by: port) }
        return fate
    }

    private var freePorts: [UInt16] {
        servers.compactMap { server in server.flatMap { $0.isFrozen ? nil : $0.port } }
    }

    /// Three requests under keys of their own.
    func askOnce() throws(HarnessError) {
        guard let port = freePorts.first else { return }
        for _ in 0..<3 {
            let posting = nextPosting("once")
            let key = "once-\(questionCount)"
            questions.append(
                CampaignQuestion(posting: posting, idempotencyKey: key, sentAt: MonotonicClock.milliseconds()))
            record(questions.count - 1, send(posting, to: port, idempotencyKey: key), port)
        }
    }

    /// The newest of them again, through another node.
    func askAgain() throws(HarnessError) {
        guard let port = freePorts.last else { return }
        let now = MonotonicClock.milliseconds()
        for index in questions.indices.suffix(3) {
            let question = questions[index]
            if sequence.hasShortRetention, now > question.sentAt + Self.repeatMilliseconds { continue }
            record(index, send(question.posting, to: port, idempotencyKey: question.idempotencyKey), port)
        }
    }

    /// The first acknowledgement is the request's fate; until then it is open.
    private func record(_ index: Int, _ fate: Fate, _ port: UInt16) {
        guard fate == .acknowledged, !questions[index].isRecorded else { return }
        questions[index].isRecorded = true
        let posting = questions[index].posting
        load.change { $0.record(posting, fate, by: port) }
    }

    /// What was never acknowledged may have counted once.
    func recordOpenQuestions() {
        for question in questions where !question.isRecorded {
            load.change { $0.record(question.posting, .unknown) }
        }
        questions = []
    }
}
