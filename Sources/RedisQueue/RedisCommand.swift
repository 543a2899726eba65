// The arguments of one command, laid out for hiredis: the short ones one behind the other in one buffer, the payload,
// if there is one, where it already lies. So a push of a megabyte is copied by hiredis alone, and a command of twelve
// arguments costs two allocations.

import CHiredis

/// One command with its arguments.
public struct RedisCommand: Sendable {
    private var arena: [UInt8] = []
    /// The end in `arena` of each argument; the payload has a length of zero there.
    private var ends: [Int] = []
    private var payload: [UInt8] = []
    private var payloadIndex: Int?

    /// A command of text arguments, the name first.
    public init(_ arguments: String...) {
        for argument in arguments { append(argument) }
    }

    public mutating func append(_ text: String) {
        arena.append(contentsOf: text.utf8)
        ends.append(arena.count)
    }

    public mutating func append(_ bytes: [UInt8]) {
        arena.append(contentsOf: bytes)
        ends.append(arena.count)
    }

    public mutating func append(_ integer: some FixedWidthInteger) {
        append(String(integer))
    }

    /// Appends an argument that is not copied. At most one of a command.
    public mutating func append(payload bytes: [UInt8]) {
        precondition(payloadIndex == nil, "a command carries one payload")
        payloadIndex = ends.count
        payload = bytes
        ends.append(arena.count)
    }

    /// Roughly what it takes on the wire.
    var byteCount: Int { arena.count + payload.count + 16 * ends.count }

    /// Appends the command to the output buffer of `context`; a status of hiredis.
    func append(to context: UnsafeMutablePointer<redisContext>) -> Int32 {
        arena.withUnsafeBytes { arena in
            payload.withUnsafeBytes { payload in
                var pointers: [UnsafePointer<CChar>?] = []
                var lengths: [Int] = []
                pointers.reserveCapacity(ends.count)
                lengths.reserveCapacity(ends.count)
                var start = 0
                for (index, end) in ends.enumerated() {
                    let isPayload = index == payloadIndex
                    let source = isPayload ? payload : UnsafeRawBufferPointer(rebasing: arena[start..<end])
                    pointers.append(source.baseAddress?.assumingMemoryBound(to: CChar.self))
                    lengths.append(source.count)
                    start = end
                }
                return redisAppendCommandArgv(context, Int32(ends.count), &pointers, lengths)
            }
        }
    }
}
