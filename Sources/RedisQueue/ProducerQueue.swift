// The producer's side of the queues: one flight of commands as one pipeline over one connection.
//
// A flight never throws. Whatever happens, each command gets an answer of its own: a definite one (also "refused"), or
// `unknown` from the command on whose answer did not come. Which to send again is the state machine's decision.

public import TallyCore

/// One producer's connection, which never blocks. Belongs to an event loop.
public final class ProducerQueue {
    private let connection: RedisConnection
    private let names: KeyNames
    /// How the commands of a partition begin: the function and its keys.
    private struct Beginnings {
        let push: RedisCommand
        let heartbeat: RedisCommand
        let compare: RedisCommand
    }

    private var beginnings: [PartitionID: Beginnings] = [:]
    private var ownerText: (topology: Topology, text: String)?
    /// The flight under way, and what has been answered of it.
    private var flight: [QueueCommand] = []
    private var answers: [QueueAnswer] = []
    private var failure: RedisError?
    /// Questions about Redis itself whose answers are due, behind those of the flight, in order.
    private var checks: [Check] = []
    /// As they were told in this flight.
    private var settings: [String: String]?
    /// False once Redis has not told its settings: it is not asked again.
    private var areSettingsTold = true

    private enum Check {
        case settings
        case standing
    }
    /// Whether the socket has not taken all of the flight.
    public private(set) var isWriting = false

    /// Takes the connection over.
    public init(connection: RedisConnection, names: KeyNames) throws(RedisError) {
        self.connection = connection
        self.names = names
        try connection.stopBlocking()
    }

    /// What came of a flight.
    public struct Landed: Sendable {
        public let commands: [QueueCommand]
        /// As many as there were commands, in their order.
        public let answers: [QueueAnswer]
        /// The first failure that no answer tells: of the connection, or of reading the topology.
        public let failure: RedisError?
    }

    /// Whether another flight can follow; else a new connection is due.
    public var isConnected: Bool { connection.failure == nil }

    /// What the loop is to watch.
    public var descriptor: Int32 { connection.descriptor }

    /// Begins to send the commands; not before the last flight has landed. It lands at once if the connection breaks.
    ///
    /// - Parameter isChecked: asks for Redis' settings, too, and whether it takes writes. If it is not fit, the
    ///   connection ends with the failure `unfit`, and no command of the flight counts as answered.
    public func send(_ commands: [QueueCommand], isChecked: Bool = false) -> Landed? {
        precondition(flight.isEmpty, "a flight begins before the last one has landed")
        flight = commands
        if isChecked, areSettingsTold { checks.append(.settings) }
        if isChecked { checks.append(.standing) }
        answers.reserveCapacity(commands.count)
        isWriting = true
        return attempt { () throws(RedisError) in
            for command in commands { try connection.send(encoded(command)) }
            for check in checks { try connection.send(Self.question(check)) }
            isWriting = try !connection.writeSome()
        }
    }

    /// The socket can be written: the rest of the flight.
    public func write() -> Landed? {
        attempt { () throws(RedisError) in isWriting = try !connection.writeSome() }
    }

    /// The socket can be read: answers, or the end of the connection.
    ///
    /// - Returns: the flight, once all of it is answered or nothing more can come.
    public func read() -> Landed? {
        attempt { () throws(RedisError) in
            try connection.readSome()
            while let reply = try connection.nextReply() {
                if answers.count < flight.count {
                    answers.append(try answer(reply, to: flight[answers.count], &failure))
                } else {
                    try check(reply)
                }
            }
        }
    }

    /// What is asked of Redis itself.
    private static func question(_ check: Check) -> RedisCommand {
        switch check {
        case .settings: ServerRequirements.settingsQuestion
        case .standing: ServerRequirements.standingQuestion
        }
    }

    /// What Redis tells of itself, at the end of a flight.
    private func check(_ reply: RedisReply) throws(RedisError) {
        let problems: [ServerProblem]?
        switch checks.removeFirst() {
        case .settings:
            settings = ServerRequirements.settings(in: reply)
            problems = ServerRequirements.problems(inSettings: reply, allowVolatile: connection.link.allowVolatile)
            areSettingsTold = problems != nil
        case .standing:
            // An ACL that hides INFO has been told when connecting.
            problems = reply.text.map { ServerRequirements.standing(settings, ServerInfo(text: $0)) }
        }
        guard let problems, !problems.isEmpty else { return }
        // What it has just confirmed may not be on disk, or on one that is not asked any more.
        answers = []
        throw .unfit(problems)
    }

    /// Redis has been silent for too long.
    public func giveUp(afterMilliseconds milliseconds: UInt64) -> Landed? {
        attempt { () throws(RedisError) in throw .timedOut(milliseconds: milliseconds) }
    }

    private func attempt(_ step: () throws(RedisError) -> Void) -> Landed? {
        do throws(RedisError) {
            try step()
            return answers.count == flight.count && checks.isEmpty && !flight.isEmpty ? land() : nil
        } catch {
            connection.abandon(error)
            failure = error
            return land()
        }
    }

    private func land() -> Landed {
        answers.append(contentsOf: repeatElement(.unknown, count: flight.count - answers.count))
        defer {
            flight = []
            answers = []
            failure = nil
            checks = []
            settings = nil
            isWriting = false
        }
        return Landed(commands: flight, answers: answers, failure: failure)
    }

    private func encoded(_ command: QueueCommand) -> RedisCommand {
        switch command {
        case .push(let batch, let floor, let limitBytes, let topology):
            var call = beginnings(of: batch.id.stream.partition).push
            call.append(batch.id.stream.producer.bytes.array)
            call.append(batch.id.sequence)
            call.append(floor)
            call.append(limitBytes)
            call.append(payload: batch.bytes)
            call.append(owner(topology))
            call.append(littleEndian: batch.chain.before)
            call.append(littleEndian: batch.chain.through)
            return call
        case .heartbeat(let stream, let floor, let topology):
            var call = beginnings(of: stream.partition).heartbeat
            call.append(stream.producer.bytes.array)
            call.append(floor)
            call.append(owner(topology))
            return call
        case .compare(let floors, let partition, let topology):
            var call = beginnings(of: partition).compare
            call.append(owner(topology))
            call.append(floors.flatMap { $0.stream.record($0.sequence) })
            return call
        case .noteEpoch(let topology):
            var call = FunctionName.note.call(keys: [names.noted])
            call.append(owner(topology))
            call.append(UInt64(topology.epoch))
            return call
        case .readTopology: return RedisCommand("GET", names.topology)
        case .readTime: return RedisCommand("TIME")
        }
    }

    private func answer(
        _ reply: RedisReply, to command: QueueCommand, _ failure: inout RedisError?
    ) throws(RedisError) -> QueueAnswer {
        switch command {
        case .push: return .push(try pushReply(reply))
        case .heartbeat: return .heartbeat(try heartbeatReply(reply))
        case .compare(let floors, _, _): return .compared(try compareReply(reply, floors.count))
        case .noteEpoch: return .epochNoted  // or refused: it is told again
        case .readTopology:
            do throws(RedisError) {
                return .topology(try Topology(published: reply, at: names.topology))
            } catch {
                // The connection is sound: only this one answer says nothing.
                failure = failure ?? error
                return .unknown
            }
        case .readTime: return .time(Self.milliseconds(reply))
        }
    }

    private func pushReply(_ reply: RedisReply) throws(RedisError) -> PushReply {
        if let refusal = refusal(in: reply) { return .refused(refusal) }
        let answer = try FunctionAnswer(reply, to: .push)
        switch answer.word {
        case "OK": return .ok(applied: try answer.integer(1))
        case "DUP":
            return .duplicate(
                last: try answer.integer(2), chain: try answer.chain(3), applied: try answer.integer(1))
        case "SEALED": return .sealed(applied: try answer.integer(1))
        case "GAP": return .gap(last: try answer.integer(1), applied: try answer.integer(2))
        case "BEHIND": return .behind(applied: try answer.integer(1))
        case "CONFLICT": return .conflict
        case "FULL": return .full(applied: try answer.integer(1))
        case "NOTOPO": return .noTopology
        default: throw answer.unexpected
        }
    }

    private func heartbeatReply(_ reply: RedisReply) throws(RedisError) -> HeartbeatReply {
        if let refusal = refusal(in: reply) { return .refused(refusal) }
        let answer = try FunctionAnswer(reply, to: .heartbeat)
        switch answer.word {
        case "OK": return .progress(last: try answer.integer(1), applied: try answer.integer(2))
        case "NOTOPO": return .noTopology
        default: throw answer.unexpected
        }
    }

    private func compareReply(_ reply: RedisReply, _ count: Int) throws(RedisError) -> CompareReply {
        if let refusal = refusal(in: reply) { return .refused(refusal) }
        let answer = try FunctionAnswer(reply, to: .compare)
        switch answer.word {
        case "OK":
            let known = try answer.bytes(1).map { $0 == UInt8(ascii: "1") }
            guard known.count == count else { throw answer.damaged(1) }
            return .known(known)
        case "NOTOPO": return .noTopology
        default: throw answer.unexpected
        }
    }

    /// An error reply as a sentence: a function raises errors before its first write only.
    private func refusal(in reply: RedisReply) -> String? {
        guard case .error(let code, let message) = reply else { return nil }
        let error = RedisError.server(code: code, message: message)
        return error.hint.map { "\(error) (\($0))" } ?? error.description
    }

    /// Seconds and microseconds, as TIME answers; nil if Redis does not tell.
    private static func milliseconds(_ reply: RedisReply) -> UInt64? {
        guard case .array(let parts) = reply, parts.count == 2, let seconds = parts[0].text.flatMap({ UInt64($0) }),
            let microseconds = parts[1].text.flatMap({ UInt64($0) }), seconds < 1 << 40
        else { return nil }
        return seconds * 1_000 + microseconds / 1_000
    }

    /// A producer pushes for one topology: its text is made once.
    private func owner(_ topology: Topology) -> String {
        if let ownerText, ownerText.topology == topology { return ownerText.text }
        let text = topology.owner
        ownerText = (topology, text)
        return text
    }

    private func beginnings(of partition: PartitionID) -> Beginnings {
        if let found = beginnings[partition] { return found }
        // A node moves to a new epoch as a whole: names of older ones are of no more use.
        if let other = beginnings.keys.first, other.epoch != partition.epoch { beginnings = [:] }
        let keys = names.group(of: partition).all
        let made = Beginnings(
            push: FunctionName.push.call(keys: keys), heartbeat: FunctionName.heartbeat.call(keys: keys),
            compare: FunctionName.compare.call(keys: keys))
        beginnings[partition] = made
        return made
    }
}

extension [QueueCommand] {
    /// The topology is read now and then, and Redis is looked at in the same flights: its settings and its role can
    /// change at any time.
    public var readsTopology: Bool { if case .readTopology? = first { true } else { false } }

    /// Whether one of them is what the connection is for: it concerns a stream.
    public var haveWork: Bool {
        contains { command in
            switch command {
            case .push, .heartbeat, .compare: true
            case .readTopology, .readTime, .noteEpoch: false
            }
        }
    }
}

extension Topology {
    /// Whose partitions they are, and one of how many: as a key group keeps it.
    var owner: String { "\(cluster)/\(partitions)" }

    /// The topology in the answer to a GET of `key`; nil if there is none.
    init?(published reply: RedisReply, at key: String) throws(RedisError) {
        switch reply {
        case .null: return nil
        case .error(let code, let message): throw .server(code: code, message: message)
        case .bytes(let text):
            do throws(ClusterFileError) {
                try self.init(json: text)
            } catch {
                throw .protocolViolation("\(key) holds no topology: \(error)")
            }
        case .status, .integer, .array: throw .protocolViolation("GET \(key) answered \(reply)")
        }
    }
}
