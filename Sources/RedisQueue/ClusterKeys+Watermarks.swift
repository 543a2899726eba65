// What a partition's queue has seen committed, for those who compare it with a file. It only reads, and needs no
// function library.

public import TallyCore

extension ClusterKeys {
    /// The watermark of each producer in `applied`; empty if there is none, or no key group.
    public func watermarks(of partition: PartitionID) throws(RedisError) -> [ProducerID: UInt64] {
        try connection.watermarks(at: names.group(of: partition).applied)
    }
}

extension PartitionQueue {
    /// The watermark of each producer in `applied`; empty if there is none, or no key group.
    public func watermarks() throws(RedisError) -> [ProducerID: UInt64] { try connection.watermarks(at: group.applied) }
}

extension RedisConnection {
    fileprivate func watermarks(at key: String) throws(RedisError) -> [ProducerID: UInt64] {
        let reply = try command(RedisCommand("HGETALL", key))
        if case .error(let code, let message) = reply { throw .server(code: code, message: message) }
        guard case .array(let elements) = reply, let watermarks = FunctionAnswer.watermarks(elements) else {
            throw .protocolViolation("\(key) does not hold watermarks")
        }
        return watermarks
    }
}
