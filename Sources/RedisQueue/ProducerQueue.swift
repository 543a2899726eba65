// The producer's side of the queues: one flight of commands as one pipeline over one connection.
//
// A flight never throws. Whatever happens, each command gets an answer of its own: a definite one (also "refused"), or
// `unknown` from the command on whose answer did not come. Which to send again is the state machine's decision.

public import TallyCore

/// One producer's connection. Not thread-safe.
public final class ProducerQueue {
    private let connection: RedisConnection
    private let names: KeyNames
    private var groups: [PartitionID: KeyGroup] = [:]

    public init(connection: RedisConnection, names: KeyNames) {
        self.connection = connection
        self.names = names
    }

    /// What came of a flight.
    public struct Landed: Sendable {
        /// As many as there were commands, in their order.
        public let answers: [QueueAnswer]
        /// The first failure that no answer tells: of the connection, or of reading the topology.
        public let failure: RedisError?
    }

    /// Whether another flight can follow; else a new connection is due.
    public var isConnected: Bool { connection.failure == nil }

    /// Sends all commands, then reads all answers.
    public func deliver(_ commands: [QueueCommand]) -> Landed {
        var answers: [QueueAnswer] = []
        answers.reserveCapacity(commands.count)
        var failure: RedisError?
        do throws(RedisError) {
            for command in commands { try connection.send(encoded(command)) }
            for command in commands {
                let reply = try connection.receive()
                answers.append(try answer(reply, to: command, &failure))
            }
        } catch {
            connection.abandon(error)
            failure = error
        }
        answers.append(contentsOf: repeatElement(.unknown, count: commands.count - answers.count))
        return Landed(answers: answers, failure: failure)
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
