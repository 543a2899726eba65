// One answer of Redis, copied out of hiredis' memory once.
//
// An error reply is a value here, because in a pipeline the answers behind it still count. Redis appends to an error
// that a function raised where in the function that was; the operator gets the sentence alone.

import CHiredis

/// An answer of Redis.
public enum RedisReply: Hashable, Sendable {
    /// A status such as `OK`.
    case status(String)
    case integer(Int64)
    case bytes([UInt8])
    case array([RedisReply])
    case null
    /// Refused: code and text.
    case error(code: String, message: String)

    /// The text of a status or of bytes that are UTF-8, else nil.
    public var text: String? {
        switch self {
        case .status(let text): text
        case .bytes(let bytes): String(validating: bytes, as: UTF8.self)
        case .integer, .array, .null, .error: nil
        }
    }

    init(copying reply: redisReply) throws(RedisError) {
        switch reply.type {
        case REDIS_REPLY_STATUS: self = .status(String(decoding: Self.bytes(of: reply), as: UTF8.self))
        case REDIS_REPLY_INTEGER: self = .integer(reply.integer)
        case REDIS_REPLY_STRING: self = .bytes(Array(Self.bytes(of: reply)))
        case REDIS_REPLY_NIL: self = .null
        case REDIS_REPLY_ERROR: self.init(errorText: String(decoding: Self.bytes(of: reply), as: UTF8.self))
        case REDIS_REPLY_ARRAY:
            var elements: [RedisReply] = []
            elements.reserveCapacity(reply.elements)
            for index in 0..<reply.elements {
                guard let element = reply.element[index] else {
                    throw .protocolViolation("an array with a hole")
                }
                elements.append(try RedisReply(copying: element.pointee))
            }
            self = .array(elements)
        default: throw .protocolViolation("a reply of type \(reply.type)")
        }
    }

    /// Splits `OOM command not allowed` into code and message; a text without a code gets `ERR`.
    init(errorText: String) {
        var message = Substring(errorText)
        if let place = Self.scriptPlace(in: message) { message = message[..<place] }
        let code = message.prefix { $0 != " " }
        let isCode = !code.isEmpty && code.utf8.allSatisfy { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) }
        if isCode { message = message.dropFirst(code.count + 1) }
        self = .error(code: isCode ? String(code) : "ERR", message: String(message))
    }

    /// Where Redis begins to tell which function and line raised the error.
    private static func scriptPlace(in text: Substring) -> Substring.Index? {
        let mark = " script: "
        return text.indices.last { text[$0...].hasPrefix(mark) && text[$0...].contains("@user_function") }
    }

    private static func bytes(of reply: redisReply) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: reply.str, count: reply.len)
    }
}
