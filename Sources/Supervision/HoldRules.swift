// Who may keep the consumers from running, and when they run again: decided without sockets or processes.
//
//   starting    `up` is not ready yet     -> running, or -> ending if a hold was asked for meanwhile
//   running     consumers work, or there are none because the epoch is being built      -> ending
//   ending      they were asked to end for a hold      -> held; -> yielding if the holder goes
//   held        all have ended      -> reviving when the holder releases or goes
//   yielding    nobody holds any more, but they still end      -> reviving; -> ending for another hold
//   reviving    they were started and are not ready yet      -> running; -> ending for another hold
//   over        `up` ends
//
// A consumer that was asked to end is never called back: it may be in the middle of its last transaction. So whoever
// releases early waits until all have ended, and others are started.

/// The state of the hold on the consumers.
struct HoldRules {
    /// Somebody's wish that no consumer runs.
    struct Hold: Hashable {
        let connection: Int
        let reason: String
    }

    enum State: Hashable {
        case starting(Hold?)
        case running
        case ending(Hold)
        case held(Hold)
        /// The connection, if there is one, waits for `released`.
        case yielding(answerTo: Int?)
        case reviving(answerTo: Int?, partitions: Int)
        case over
    }

    enum Action: Hashable {
        case answer(String, to: Int)
        /// Ask all consumers to end, and start them no more.
        case end
        /// Read the cluster file and start the consumers of its epoch; then `revived`.
        case revive
        /// For the log.
        case tellHeld(Hold)
        case tellReleased(partitions: Int)
    }

    private(set) var state = State.starting(nil)

    /// Who holds the consumers, or has asked to.
    var hold: Hold? {
        switch state {
        case .starting(let hold): hold
        case .ending(let hold), .held(let hold): hold
        case .running, .yielding, .reviving, .over: nil
        }
    }

    /// `up` has become ready.
    mutating func started() -> [Action] {
        guard case .starting(let hold) = state else { preconditionFailure("a cluster becomes ready once") }
        state = hold.map { .ending($0) } ?? .running
        return hold == nil ? [] : [.end]
    }

    mutating func asked(_ hold: Hold) -> [Action] {
        if let first = self.hold { return [.answer("busy \(first.reason)", to: hold.connection)] }
        switch state {
        case .starting:
            state = .starting(hold)
            return []
        case .running:
            state = .ending(hold)
            return [.end]
        case .yielding(let waiting):
            state = .ending(hold)
            return Self.answer("released 0 held", to: waiting)
        case .reviving(let waiting, _):
            state = .ending(hold)
            return Self.answer("released 0 held", to: waiting) + [.end]
        case .over: return [.answer("error \(Self.overText)", to: hold.connection)]
        case .ending, .held: preconditionFailure("a hold that exists was found above")
        }
    }

    mutating func released(by connection: Int) -> [Action] {
        if state == .over { return [.answer("error \(Self.overText)", to: connection)] }
        guard hold?.connection == connection else {
            return [.answer("error this connection holds nothing", to: connection)]
        }
        return give(back: connection)
    }

    /// A connection is over.
    mutating func closed(_ connection: Int) -> [Action] {
        switch state {
        case .yielding(connection): state = .yielding(answerTo: nil)
        case .reviving(connection, let partitions): state = .reviving(answerTo: nil, partitions: partitions)
        default: if hold?.connection == connection { return give(back: nil) }
        }
        return []
    }

    private mutating func give(back answerTo: Int?) -> [Action] {
        switch state {
        case .starting:
            state = .starting(nil)
            return Self.answer("released 0 starting", to: answerTo)
        case .ending:
            state = .yielding(answerTo: answerTo)
            return []
        case .held:
            state = .yielding(answerTo: answerTo)
            return [.revive]
        case .running, .yielding, .reviving, .over: preconditionFailure("nobody holds anything")
        }
    }

    /// How the consumers are now; told after everything that happens.
    ///
    /// - Parameters:
    ///   - areReady: also of those that wait for somebody to mend something.
    ///   - refused: which one does, as "consumer 2 ended with code 65"; nil if none does.
    mutating func saw(haveEnded: Bool, areReady: Bool, refused: String? = nil) -> [Action] {
        switch state {
        case .ending(let hold) where haveEnded:
            state = .held(hold)
            return [.tellHeld(hold), .answer("held", to: hold.connection)]
        case .yielding where haveEnded: return [.revive]
        case .reviving(let answerTo, let partitions) where areReady:
            state = .running
            if let refused { return Self.answer("released \(partitions), but \(refused)", to: answerTo) }
            return [.tellReleased(partitions: partitions)] + Self.answer("released \(partitions)", to: answerTo)
        default: return []
        }
    }

    /// What came of `revive`.
    ///
    /// - Parameter partitions: that have a consumer now; nil if the epoch is being built.
    mutating func revived(partitions: Int?) -> [Action] {
        guard case .yielding(let answerTo) = state else { preconditionFailure("nobody asked for the consumers") }
        guard let partitions else {
            state = .running
            return Self.answer("released 0 building", to: answerTo)
        }
        state = .reviving(answerTo: answerTo, partitions: partitions)
        return []
    }

    /// The epoch that was being built is finished, and nobody holds the consumers.
    mutating func epochIsReady() -> [Action] {
        precondition(state == .running, "whoever holds the consumers gives them back")
        state = .yielding(answerTo: nil)
        return [.revive]
    }

    /// `up` ends: nothing is started any more.
    mutating func end(because reason: String = HoldRules.overText) -> [Action] {
        let waiting: Int? =
            switch state {
            case .starting(let hold): hold?.connection
            case .ending(let hold): hold.connection
            case .yielding(let answerTo), .reviving(let answerTo, _): answerTo
            case .running, .held, .over: nil
            }
        state = .over
        return Self.answer("error \(reason)", to: waiting)
    }

    private static func answer(_ line: String, to connection: Int?) -> [Action] {
        connection.map { [.answer(line, to: $0)] } ?? []
    }

    static let overText = "this `up` is ending"
}
