// What the head of a request already decides: which resource, which method and which type.

import TallyCore

extension RequestHead {
    /// Whether the request brings increments.
    var takesIncrements: Bool { route == .increment || route == .increments }

    /// Why the request is refused whatever its body says, or nil.
    ///
    /// - Parameter isCounting: whether the server takes increments at all.
    func problem(isCounting: Bool) -> Problem? {
        if route == .none || takesIncrements && !isCounting { return .nothingHere }
        if takesIncrements != (method == .post) || method == .other {
            let allow = takesIncrements ? "POST" : "GET, HEAD"
            return Problem(.methodNotAllowed, "this path takes \(allow) only", allow: allow)
        }
        if !takesIncrements { return nil }
        if isEncoded { return Problem(.unsupportedMediaType, "no Content-Encoding is understood") }
        if mediaType == .other, announcesBody {
            return Problem(
                .unsupportedMediaType,
                route == .increment
                    ? "/increment takes application/x-www-form-urlencoded or application/json"
                    : "/increments takes application/json, application/x-ndjson or text/plain")
        }
        return nil
    }

    /// The idempotency key without its quotes: a bare word, or a string of RFC 8941, section 3.3.3.
    func unquotedIdempotencyKey(_ bytes: UnsafeRawBufferPointer) throws(Problem) -> [UInt8]? {
        if !hasIdempotencyKey { return nil }
        let problem = Problem(
            .badRequest, "the Idempotency-Key is not 1 to \(Limits.idempotencyKeyBytesMax) visible ASCII characters")
        let raw = idempotencyKey.of(bytes)
        var key: [UInt8] = []
        if raw.first == UInt8(ascii: "\"") {
            guard raw.count >= 2, raw.last == UInt8(ascii: "\"") else { throw problem }
            var index = 1
            while index < raw.count - 1 {
                if raw[index] == UInt8(ascii: "\"") { throw problem }
                if raw[index] == UInt8(ascii: "\\") {
                    index += 1
                    let isEscape = raw[index] == UInt8(ascii: "\"") || raw[index] == UInt8(ascii: "\\")
                    guard index < raw.count - 1, isEscape else { throw problem }
                }
                key.append(raw[index])
                index += 1
            }
        } else {
            key = Array(raw)
        }
        guard (1...Limits.idempotencyKeyBytesMax).contains(key.count),
            key.allSatisfy({ (0x21...0x7E).contains($0) })
        else { throw problem }
        if ToolClaim(key) != nil {
            throw Problem(
                .unprocessableContent,
                "an Idempotency-Key of this form is a tool's: choose one that is not `import:` or `dead-letter:` and 32"
                    + " hex digits")
        }
        return key
    }
}
