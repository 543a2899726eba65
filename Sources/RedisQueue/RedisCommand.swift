// The arguments of one command as they go over the wire: the short ones one behind the other in one buffer, the
// payload, if there is one, where it already lies. So a push of a megabyte is copied once, into the output of the
// connection, and a command that begins like the one before it can begin with a copy.
//
//   *<arguments>\r\n   then for each   $<bytes>\r\n<the bytes>\r\n

import CHiredis
import TallyCore

/// One command with its arguments.
public struct RedisCommand: Sendable {
    /// All arguments, but not the bytes of the payload.
    private var wire: [UInt8] = []
    private var count = 0
    private var payload: [UInt8] = []
    /// Where in `wire` the payload belongs.
    private var payloadOffset: Int?

    /// A command of text arguments, the name first.
    public init(_ arguments: String...) {
        for argument in arguments { append(argument) }
    }

    public mutating func append(_ text: String) {
        begin(byteCount: text.utf8.count)
        wire.append(contentsOf: text.utf8)
        end()
    }

    public mutating func append(_ bytes: [UInt8]) {
        begin(byteCount: bytes.count)
        wire.append(contentsOf: bytes)
        end()
    }

    public mutating func append(_ integer: some FixedWidthInteger) {
        var length = integer < 0 ? 2 : 1
        var rest = integer.magnitude / 10
        while rest > 0 {
            length += 1
            rest /= 10
        }
        begin(byteCount: length)
        DecimalText.append(integer, to: &wire)
        end()
    }

    /// Appends 8 raw bytes.
    mutating func append(littleEndian value: UInt64) {
        begin(byteCount: 8)
        withUnsafeBytes(of: value.littleEndian) { wire.append(contentsOf: $0) }
        end()
    }

    /// Appends an argument that is not copied. At most one of a command.
    public mutating func append(payload bytes: [UInt8]) {
        precondition(payloadOffset == nil, "a command carries one payload")
        begin(byteCount: bytes.count)
        payloadOffset = wire.count
        payload = bytes
        end()
    }

    /// Appends a text that is not left behind in memory, if the command is sent by `spend`.
    mutating func append(_ secret: Secret) {
        secret.withBytes { bytes in
            // Growing would leave a copy behind.
            wire.reserveCapacity(wire.count + bytes.count + 32)
            begin(byteCount: bytes.count)
            wire.append(contentsOf: bytes)
        }
        end()
    }

    /// Calls `body` with the whole of a command without a payload, and overwrites everything.
    mutating func spend<Value>(_ body: (UnsafeRawBufferPointer) -> Value) -> Value {
        precondition(payloadOffset == nil, "a payload is not overwritten")
        var whole = [UInt8(ascii: "*")]
        whole.reserveCapacity(wire.count + 32)
        DecimalText.append(count, to: &whole)
        whole += [UInt8(ascii: "\r"), UInt8(ascii: "\n")]
        whole += wire
        defer {
            wire.overwrite()
            whole.overwrite()
        }
        return whole.withUnsafeBytes(body)
    }

    private mutating func begin(byteCount: Int) {
        wire.append(UInt8(ascii: "$"))
        DecimalText.append(byteCount, to: &wire)
        end()
        count += 1
    }

    private mutating func end() {
        wire.append(UInt8(ascii: "\r"))
        wire.append(UInt8(ascii: "\n"))
    }

    /// Roughly what it takes on the wire.
    var byteCount: Int { wire.count + payload.count }

    /// Appends the command to the output buffer of `context`; a status of hiredis.
    func append(to context: UnsafeMutablePointer<redisContext>) -> Int32 {
        var head = [UInt8(ascii: "*")]
        DecimalText.append(count, to: &head)
        head.append(UInt8(ascii: "\r"))
        head.append(UInt8(ascii: "\n"))
        return head.withUnsafeBytes { head in
            wire.withUnsafeBytes { wire in
                payload.withUnsafeBytes { payload in
                    let offset = payloadOffset ?? wire.count
                    var status = Self.append(head, to: context)
                    if status == REDIS_OK {
                        status = Self.append(UnsafeRawBufferPointer(rebasing: wire[..<offset]), to: context)
                    }
                    if status == REDIS_OK { status = Self.append(payload, to: context) }
                    if status == REDIS_OK {
                        status = Self.append(UnsafeRawBufferPointer(rebasing: wire[offset...]), to: context)
                    }
                    return status
                }
            }
        }
    }

    /// Appends bytes of a command: hiredis does not look at them.
    private static func append(_ part: UnsafeRawBufferPointer, to context: UnsafeMutablePointer<redisContext>) -> Int32
    {
        guard let start = part.baseAddress, part.count > 0 else { return REDIS_OK }
        return redisAppendFormattedCommand(context, start.assumingMemoryBound(to: CChar.self), part.count)
    }
}

extension [UInt8] {
    /// Overwrites and empties it.
    fileprivate mutating func overwrite() {
        withUnsafeMutableBytes { Secret.overwrite($0) }
        removeAll()
    }
}
