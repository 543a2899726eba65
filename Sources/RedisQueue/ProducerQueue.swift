// The producer's side of the queues: one flight of commands as one pipeline over one connection.
//
// A flight never throws. Whatever happens, each command gets an answer of its own: a definite one (also "refused"), or
// `unknown` from the command on whose answer did not come. Which to send again is the state machine's decision.

public import TallyCore

/// One producer's connection, which never blocks. Belongs to an event loop.
public final class ProducerQueue {
    private let connection: RedisConnection
    private let names: KeyNames
    private var groups: [PartitionID: KeyGroup] = [:]
    /// The flight under way, and what has been answered of it.
    private var flight: [QueueCommand] = []
    private var answers: [QueueAnswer] = []
    private var failure: RedisError?
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
    public func send(_ commands: [QueueCommand]) -> Landed? {
        precondition(flight.isEmpty, "a flight begins before the last one has landed")
        flight = commands
        answers.reserveCapacity(commands.count)
        isWriting = true
        return attempt { () throws(RedisError) in
            for command in commands { try connection.send(encoded(command)) }
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
                answers.append(try answer(reply, to: flight[answers.count], &failure))
            }
        }
    }

    /// Redis has been silent for too long.
    public func giveUp(afterMilliseconds milliseconds: UInt64) -> Landed? {
        attempt { () throws(RedisError) in throw .timedOut(milliseconds: milliseconds) }
    }

    private func attempt(_ step: () throws(RedisError) -> Void) -> Landed? {
        do throws(RedisError) {
            try step()
            return answers.count == flight.count && !flight.isEmpty ? land() : nil
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
            isWriting = false
        }
        return Landed(commands: flight, answers: answers, failure: failure)
    }

    private func encoded(_ command: QueueCommand) -> RedisCommand {
        switch command {
        case .push(let batch, let floor, let limitBytes):
            var call = FunctionName.push.call(keys: keys(of: batch.id.stream.partition))
            call.append(batch.id.stream.producer.bytes.array)
            call.append(batch.id.sequence)
            call.append(floor)
            call.append(limitBytes)
            call.append(payload: batch.bytes)
            return call
        case .heartbeat(let stream):
            var call = FunctionName.heartbeat.call(keys: keys(of: stream.partition))
            call.append(stream.producer.bytes.array)
            return call
        case .readTopology: return RedisCommand("GET", names.topology)
        }
    }

    private func answer(
        _ reply: RedisReply, to command: QueueCommand, _ failure: inout RedisError?
    ) throws(RedisError) -> QueueAnswer {
        switch command {
        case .push: return .push(try pushReply(reply))
        case .heartbeat: return .heartbeat(try heartbeatReply(reply))
        case .readTopology:
            do throws(RedisError) {
                return .topology(try Topology(published: reply, at: names.topology))
            } catch {
                // The connection is sound: only this one answer says nothing.
                failure = failure ?? error
                return .unknown
            }
        }
    }

    private func pushReply(_ reply: RedisReply) throws(RedisError) -> PushReply {
        if let refusal = refusal(in: reply) { return .refused(refusal) }
        let answer = try FunctionAnswer(reply, to: .push)
        switch answer.word {
        case "OK": return .ok(applied: try answer.integer(1))
        case "DUP": return .duplicate(applied: try answer.integer(1))
        case "SEALED": return .sealed(applied: try answer.integer(1))
        case "GAP": return .gap(last: try answer.integer(1), applied: try answer.integer(2))
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

    /// An error reply as a sentence: a function raises errors before its first write only.
    private func refusal(in reply: RedisReply) -> String? {
        guard case .error(let code, let message) = reply else { return nil }
        let error = RedisError.server(code: code, message: message)
        return error.hint.map { "\(error) (\($0))" } ?? error.description
    }

    private func keys(of partition: PartitionID) -> [String] {
        if let group = groups[partition] { return group.all }
        // A node moves to a new epoch as a whole: names of older ones are of no more use.
        if let other = groups.keys.first, other.epoch != partition.epoch { groups = [:] }
        let group = names.group(of: partition)
        groups[partition] = group
        return group.all
    }
}

extension Topology {
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
