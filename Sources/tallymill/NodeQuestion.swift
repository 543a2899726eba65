// Asks a web node for its ledger, `GET /ledger`. Each of its event loops answers for itself and connections are dealt
// out in turn, so a connection is opened for each question until every loop has answered.

import Glibc
import Operations
import ServiceKit
import TallyCore
import Tokens

/// The question to one node.
struct NodeQuestion {
    /// Connections for each loop, beside those that other clients open in between.
    private static let triesOfLoop = 32
    private static let answerBytesMax = 4 << 20

    private let address: AuditCommand.NodeAddress
    private let token: TokenSecret?
    private let patienceSeconds: Int

    /// - Parameters:
    ///   - token: to be shown; nil for none.
    ///   - patienceSeconds: for connecting, and for each wait for bytes.
    init(_ address: AuditCommand.NodeAddress, token: TokenSecret?, patienceSeconds: Int = 5) {
        self.address = address
        self.token = token
        self.patienceSeconds = patienceSeconds
    }

    /// Whether it admits requests; nil if it does not say.
    func askReadiness() -> Bool? {
        do throws(Failure) {
            // The answer's status is all that is asked.
            _ = try HTTPQuestion(address.endpoint, patienceSeconds: patienceSeconds, token: token)
                .get("/readyz", answerBytesMax: Self.answerBytesMax)
            return true
        } catch {
            return error.code == .failure ? false : nil
        }
    }

    /// - Throws: 69 if the node cannot be reached or does not answer, 1 if it answers with something else.
    func ask() throws(Failure) -> NodeLedger {
        var answers: [Int: ProducerLedger] = [:]
        var tries = 0
        repeat {
            let answer = try askOnce()
            if let other = answers[answer.loop], other.producer != answer.producer || other.loops != answer.loops {
                throw Failure(
                    .failure, "two nodes answer at this address, or it was started again meanwhile", at: "\(address)",
                    advice: "Give the address of each node by itself, not that of a balancer.")
            }
            answers[answer.loop] = answer
            tries += 1
            if answers.count == answer.loops {
                return NodeLedger(address: "\(address)", producers: answers.keys.sorted().compactMap { answers[$0] })
            }
            if tries >= answer.loops * Self.triesOfLoop {
                throw Failure(
                    .failure, "only \(answers.count) of its \(answer.loops) event loops have answered",
                    at: "\(address)",
                    advice: "Run this again.")
            }
        } while true
    }

    private func askOnce() throws(Failure) -> ProducerLedger {
        let body = try HTTPQuestion(address.endpoint, patienceSeconds: patienceSeconds, token: token)
            .get("/ledger", answerBytesMax: Self.answerBytesMax)
        do throws(ClusterFileError) {
            return try ProducerLedger(json: body)
        } catch {
            throw Failure(
                .failure, "its ledger cannot be read: \(error)", at: "\(address)/ledger",
                advice: "Is this a web node of Tallymill, of this release?")
        }
    }
}
