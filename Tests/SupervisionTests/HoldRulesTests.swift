// The hold on the consumers, decided without sockets or processes: every way out of every state, and long random runs
// against what must always be true.

import TallyCore
import Testing

@testable import Supervision

@Suite struct HoldRulesTests {
    private let first = HoldRules.Hold(connection: 1, reason: "rebalance to 7 partitions")
    private let second = HoldRules.Hold(connection: 2, reason: "import")

    private func running() -> HoldRules {
        var rules = HoldRules()
        #expect(rules.started() == [])
        return rules
    }

    private func held() -> HoldRules {
        var rules = running()
        #expect(rules.asked(first) == [.end])
        #expect(rules.saw(haveEnded: false, areReady: true) == [])
        #expect(rules.saw(haveEnded: true, areReady: false) == [.tellHeld(first), .answer("held", to: 1)])
        return rules
    }

    @Test func takenAndReleased() {
        var rules = held()
        // More looks say nothing more.
        #expect(rules.saw(haveEnded: true, areReady: false) == [])
        #expect(rules.asked(second) == [.answer("busy rebalance to 7 partitions", to: 2)])
        #expect(rules.asked(first) == [.answer("busy rebalance to 7 partitions", to: 1)])
        #expect(rules.released(by: 2) == [.answer("error this connection holds nothing", to: 2)])
        #expect(rules.released(by: 1) == [.revive])
        #expect(rules.revived(partitions: 7) == [])
        #expect(rules.saw(haveEnded: false, areReady: false) == [])
        #expect(
            rules.saw(haveEnded: false, areReady: true) == [.tellReleased(partitions: 7), .answer("released 7", to: 1)])
        #expect(rules.state == .running)
        #expect(rules.released(by: 1) == [.answer("error this connection holds nothing", to: 1)])
    }

    /// What was done under the hold may have left a consumer that is refused its shard: the holder is told.
    @Test func whoReleasesLearnsThatOneIsRefused() {
        var rules = held()
        #expect(rules.released(by: 1) == [.revive])
        #expect(rules.revived(partitions: 7) == [])
        #expect(
            rules.saw(haveEnded: false, areReady: true, refused: "consumer 2 ended with code 65")
                == [.answer("released 7, but consumer 2 ended with code 65", to: 1)])
        #expect(rules.state == .running)
    }

    @Test func theHolderGoes() {
        var rules = held()
        #expect(rules.closed(2) == [])
        #expect(rules.closed(1) == [.revive])
        #expect(rules.revived(partitions: 4) == [])
        #expect(rules.saw(haveEnded: false, areReady: true) == [.tellReleased(partitions: 4)])
    }

    @Test func theHolderGoesBeforeTheyHaveEnded() {
        var rules = running()
        #expect(rules.asked(first) == [.end])
        #expect(rules.closed(1) == [])
        #expect(rules.hold == nil)
        #expect(rules.saw(haveEnded: false, areReady: false) == [])
        #expect(rules.saw(haveEnded: true, areReady: false) == [.revive])
        #expect(rules.revived(partitions: 4) == [])
        // Another one comes while they start.
        #expect(rules.asked(second) == [.end])
        #expect(rules.saw(haveEnded: true, areReady: false) == [.tellHeld(second), .answer("held", to: 2)])
    }

    @Test func anotherHoldOvertakesARelease() {
        var rules = running()
        #expect(rules.asked(first) == [.end])
        #expect(rules.released(by: 1) == [])
        // They end already.
        #expect(rules.asked(second) == [.answer("released 0 held", to: 1)])
        #expect(rules.saw(haveEnded: true, areReady: false) == [.tellHeld(second), .answer("held", to: 2)])
        #expect(rules.released(by: 2) == [.revive])
        #expect(rules.revived(partitions: 4) == [])
        #expect(rules.asked(first) == [.answer("released 0 held", to: 2), .end])
    }

    @Test func anEpochThatIsBeingBuiltHasNone() {
        var rules = held()
        #expect(rules.released(by: 1) == [.revive])
        #expect(rules.revived(partitions: nil) == [.answer("released 0 building", to: 1)])
        #expect(rules.state == .running)
        #expect(rules.epochIsReady() == [.revive])
        #expect(rules.revived(partitions: 5) == [])
        #expect(rules.saw(haveEnded: false, areReady: true) == [.tellReleased(partitions: 5)])
    }

    @Test func askedDuringTheStart() {
        var rules = HoldRules()
        #expect(rules.asked(first) == [])
        #expect(rules.asked(second) == [.answer("busy rebalance to 7 partitions", to: 2)])
        #expect(rules.saw(haveEnded: true, areReady: true) == [])
        #expect(rules.started() == [.end])
        #expect(rules.state == .ending(first))

        var another = HoldRules()
        #expect(another.asked(first) == [])
        #expect(another.released(by: 1) == [.answer("released 0 starting", to: 1)])
        #expect(another.started() == [])
    }

    @Test func theEndAnswersWhoWaits() {
        let text = "error this `up` is ending"
        var ending = running()
        #expect(ending.asked(first) == [.end])
        #expect(ending.end() == [.answer(text, to: 1)])
        var whileHeld = held()
        #expect(whileHeld.end() == [])
        #expect(whileHeld.released(by: 1) == [.answer(text, to: 1)])
        #expect(whileHeld.asked(second) == [.answer(text, to: 2)])
        #expect(whileHeld.closed(1) == [])
        #expect(whileHeld.saw(haveEnded: true, areReady: true) == [])
        var reviving = held()
        #expect(reviving.released(by: 1) == [.revive])
        #expect(reviving.end(because: "no file") == [.answer("error no file", to: 1)])
    }

    /// Whoever is told `held` has no consumer beside him until he gives them back, and everybody is answered once.
    @Test func randomRuns() throws {
        let seed = UInt64.random(in: 0..<1_000_000)
        print("HoldRulesTests seed \(seed)")
        var random = SplitMix64(seed: seed)
        for _ in 0..<2_000 {
            var model = HoldModel()
            for _ in 0..<60 { try model.step(&random) }
            try model.finish()
        }
    }
}

/// The processes and the clients, as simply as can be.
private struct HoldModel {
    private enum Consumers { case none, starting, ready, ending }

    private var rules = HoldRules()
    private var consumers = Consumers.starting
    private var isStarted = false
    /// Answers that a connection waits for, in order; one that has closed waits for none.
    private var waiting: [Int: Int] = [:]
    private var holder: Int?
    private var hasRevive = false

    mutating func step(_ random: inout SplitMix64) throws {
        let connection = Int.random(in: 1...3, using: &random)
        switch Int.random(in: 0..<8, using: &random) {
        case 0, 1:
            waiting[connection, default: 0] += 1
            try take(rules.asked(HoldRules.Hold(connection: connection, reason: "r")))
        case 2 where holder == connection, 3 where holder == connection:
            waiting[connection, default: 0] += 1
            holder = nil
            try take(rules.released(by: connection))
        case 4:
            waiting[connection] = nil
            if holder == connection { holder = nil }
            try take(rules.closed(connection))
        case 5 where consumers == .ending: consumers = .none
        case 6 where consumers == .starting:
            consumers = .ready
            if !isStarted {
                isStarted = true
                try take(rules.started())
            }
        default: break
        }
        try look()
    }

    mutating func finish() throws {
        for _ in 0..<4 {
            if consumers == .ending { consumers = .none }
            if consumers == .starting { consumers = .ready }
            if !isStarted {
                isStarted = true
                try take(rules.started())
            }
            try look()
        }
        // Nobody waits any more: who asked was told, or holds them now.
        try #require(waiting.values.allSatisfy { $0 == 0 }, "\(rules.state) \(waiting)")
        try #require((holder != nil) == (consumers == .none), "\(rules.state)")
    }

    private mutating func look() throws {
        try take(rules.saw(haveEnded: consumers == .none, areReady: consumers == .ready))
        if let holder { try #require(consumers == .none, "\(holder) holds them, and they are \(consumers)") }
    }

    private mutating func take(_ actions: [HoldRules.Action]) throws {
        for action in actions {
            switch action {
            case .answer(let line, let connection):
                let count = try #require(waiting[connection], "\(line) to \(connection), who is gone")
                try #require(count > 0, "\(line) to \(connection), who asked nothing")
                waiting[connection] = count - 1
                if line == "held" { holder = connection }
            case .end: if consumers != .none { consumers = .ending }
            case .revive:
                try #require(consumers == .none && isStarted)
                consumers = .starting
                try take(rules.revived(partitions: 4))
            case .tellHeld, .tellReleased: break
            }
        }
    }
}
