// The answer of a library function: a word, then fields. Reading one never traps: what does not fit is a
// `protocolViolation` that names the function. No function answers with a number of 2^53 or more (Lua's are doubles),
// so none is let in, whoever answered: behind this door numbers of some thousand partitions can be added up.

import TallyCore

/// A word and its fields.
struct FunctionAnswer {
    let function: FunctionName
    let word: String
    private let fields: [RedisReply]

    /// An error reply is thrown as `RedisError.server`.
    init(_ reply: RedisReply, to function: FunctionName) throws(RedisError) {
        self.function = function
        switch reply {
        case .error(let code, let message): throw .server(code: code, message: message)
        case .array(let elements):
            guard let word = elements.first?.text else { throw .protocolViolation("\(function) answered no word") }
            self.word = word
            fields = elements
        case .status, .integer, .bytes, .null: throw .protocolViolation("\(function) answered \(reply)")
        }
    }

    /// An answer that the caller does not know.
    var unexpected: RedisError { .protocolViolation("\(function) answered \(word)") }

    func has(_ index: Int) -> Bool { index < fields.count }

    /// Field `index`, from 1.
    func integer(_ index: Int) throws(RedisError) -> UInt64 {
        guard let value = UInt64(exactly: try signed(index)) else { throw damaged(index) }
        return value
    }

    func signed(_ index: Int) throws(RedisError) -> Int64 {
        guard case .integer(let value) = try field(index), value.magnitude <= Limits.sequenceMax else {
            throw damaged(index)
        }
        return value
    }

    func count(_ index: Int) throws(RedisError) -> Int {
        guard let value = Int(exactly: try integer(index)) else { throw damaged(index) }
        return value
    }

    func bytes(_ index: Int) throws(RedisError) -> [UInt8] {
        guard case .bytes(let bytes) = try field(index) else { throw damaged(index) }
        return bytes
    }

    /// Bytes that are not UTF-8 are repaired: a text of ours is, and a foreign one must not stop `status`.
    func text(_ index: Int) throws(RedisError) -> String {
        String(decoding: try bytes(index), as: UTF8.self)
    }

    func array(_ index: Int) throws(RedisError) -> [RedisReply] {
        guard case .array(let elements) = try field(index) else { throw damaged(index) }
        return elements
    }

    func shard(_ index: Int) throws(RedisError) -> ShardUUID {
        guard let shard = ShardUUID(try text(index)) else { throw damaged(index) }
        return shard
    }

    func isSealed(_ index: Int) throws(RedisError) -> Bool {
        switch try text(index) {
        case "open": return false
        case "sealed": return true
        default: throw damaged(index)
        }
    }

    /// Producer and watermark, alternating.
    func watermarks(_ index: Int) throws(RedisError) -> [ProducerID: UInt64] {
        guard let watermarks = Self.watermarks(try array(index)) else { throw damaged(index) }
        return watermarks
    }

    /// nil if `elements` are not producer and watermark, alternating. Streams of earlier epochs are left out.
    static func watermarks(_ elements: [RedisReply]) -> [ProducerID: UInt64]? {
        var watermarks: [ProducerID: UInt64] = [:]
        for position in stride(from: 0, to: elements.count - 1, by: 2) {
            guard case .bytes(let name) = elements[position] else { return nil }
            if name.count == StreamID.nameBytes { continue }
            guard let producer = Bytes16(name), let watermark = elements[position + 1].text.flatMap({ UInt64($0) }),
                watermark <= Limits.sequenceMax
            else { return nil }
            watermarks[ProducerID(producer)] = watermark
        }
        return watermarks
    }

    /// 8 raw bytes, or none: nil.
    func chain(_ index: Int) throws(RedisError) -> UInt64? {
        let bytes = try bytes(index)
        if bytes.isEmpty { return nil }
        guard bytes.count == 8 else { throw damaged(index) }
        return Self.littleEndian(bytes)
    }

    /// Records of 24 bytes: producers and their floors, in order.
    func floors(_ index: Int) throws(RedisError) -> [(producer: ProducerID, floor: UInt64)] {
        let bytes = try bytes(index)
        return try stride(from: 0, to: bytes.count, by: 24).map { start throws(RedisError) in
            guard start + 24 <= bytes.count, let id = Bytes16(bytes[start..<start + 16]) else { throw damaged(index) }
            let floor = Self.littleEndian(bytes[start + 16..<start + 24])
            guard floor <= Limits.sequenceMax else { throw damaged(index) }
            return (ProducerID(id), floor)
        }
    }

    /// Records of 32 bytes: streams of earlier epochs and their floors, in order.
    func earlierFloors(_ index: Int) throws(RedisError) -> [StreamFloor] {
        let bytes = try bytes(index)
        return try stride(from: 0, to: bytes.count, by: StreamID.nameBytes + 8).map { start throws(RedisError) in
            guard start + StreamID.nameBytes + 8 <= bytes.count, let id = Bytes16(bytes[start..<start + 16]) else {
                throw damaged(index)
            }
            let partition = PartitionID(
                epoch: UInt32(Self.littleEndian(bytes[start + 16..<start + 20])),
                number: UInt32(Self.littleEndian(bytes[start + 20..<start + 24])))
            let floor = Self.littleEndian(bytes[start + 24..<start + 32])
            guard floor <= Limits.sequenceMax else { throw damaged(index) }
            return StreamFloor(stream: StreamID(partition: partition, producer: ProducerID(id)), sequence: floor)
        }
    }

    private static func littleEndian(_ bytes: some BidirectionalCollection<UInt8>) -> UInt64 {
        bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    func batches(_ index: Int) throws(RedisError) -> [[UInt8]] {
        var batches: [[UInt8]] = []
        for element in try array(index) {
            guard case .bytes(let bytes) = element else { throw damaged(index) }
            batches.append(bytes)
        }
        return batches
    }

    private func field(_ index: Int) throws(RedisError) -> RedisReply {
        guard index < fields.count else { throw damaged(index) }
        return fields[index]
    }

    func damaged(_ index: Int) -> RedisError {
        .protocolViolation("\(function) answered \(word) with a field \(index) that does not fit")
    }
}

extension StreamID {
    /// Of a name under which Redis keeps a stream of an earlier epoch: producer, epoch, partition.
    static let nameBytes = 24
}
