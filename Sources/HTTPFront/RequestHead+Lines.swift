// Reading the lines of a head: the request line, and those fields that mean something here.

import TallyCore

extension RequestHead {
    /// `line` lies in `bytes` without its CRLF.
    mutating func readRequestLine(_ bytes: UnsafeRawBufferPointer, _ line: Range<Int>) throws(Malformed) {
        var index = line.lowerBound
        while index < line.upperBound, ASCII.isToken(bytes[index]) { index += 1 }
        guard index > line.lowerBound, index < line.upperBound, bytes[index] == ASCII.space else {
            throw Malformed("the request line does not begin with a method and one space")
        }
        method = try RequestHead.method(UnsafeRawBufferPointer(rebasing: bytes[line.lowerBound..<index]))
        index += 1
        let target = index
        while index < line.upperBound, (0x21...0x7E).contains(bytes[index]) { index += 1 }
        let rest = UnsafeRawBufferPointer(rebasing: bytes[index..<line.upperBound])
        guard let next = rest.first else {
            throw Malformed("the request target is not followed by one space and the version")
        }
        if next != ASCII.space { throw RequestHead.mustBeEncoded(next, at: index - target) }
        if index == target { throw Malformed("more than one space follows the method") }
        do throws(Malformed) {
            try readVersion(UnsafeRawBufferPointer(rebasing: rest.dropFirst()))
        } catch {
            throw RequestHead.targetGoesOn(rest) ? RequestHead.mustBeEncoded(next, at: index - target) : error
        }
        try readTarget(bytes, target..<index)
    }

    /// Whether, behind the blank at which a target ends, there is another and then a version: a target holds none.
    private static func targetGoesOn(_ rest: UnsafeRawBufferPointer) -> Bool {
        guard let last = rest.lastIndex(of: ASCII.space), last > 0, rest.count - last > 5 else { return false }
        return ASCII.equals(UnsafeRawBufferPointer(rebasing: rest[(last + 1)..<(last + 6)]), "HTTP/")
    }

    private static func mustBeEncoded(_ byte: UInt8, at offset: Int) -> Malformed {
        let hex = Hex.text([byte])
        let name = byte == ASCII.space ? "blank" : "byte 0x\(hex)"
        return Malformed(
            "the \(name) at offset \(offset) of the request target must be percent-encoded, as %\(hex.uppercased())")
    }

    private static func method(_ name: UnsafeRawBufferPointer) throws(Malformed) -> Method {
        if ASCII.equals(name, "POST") { return .post }
        if ASCII.equals(name, "GET") { return .get }
        if ASCII.equals(name, "HEAD") { return .head }
        let others: [StaticString] = ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"]
        if others.contains(where: { ASCII.equals(name, $0) }) { return .other }
        throw Malformed(.notImplemented, "the method is unknown")
    }

    private mutating func readVersion(_ text: UnsafeRawBufferPointer) throws(Malformed) {
        if ASCII.equals(text, "HTTP/1.1") { return }
        if ASCII.equals(text, "HTTP/1.0") {
            isHTTP10 = true
            return
        }
        let isVersion =
            text.count == 8 && ASCII.equals(UnsafeRawBufferPointer(rebasing: text[..<5]), "HTTP/")
            && isDigit(text[5]) && text[6] == UInt8(ascii: ".") && isDigit(text[7])
        if isVersion { throw Malformed(.versionNotSupported, "only HTTP/1.1 and HTTP/1.0 are spoken here") }
        throw Malformed("the request line does not end with HTTP/1.1")
    }

    /// Origin form, absolute form with http or https, or `*`.
    private mutating func readTarget(
        _ bytes: UnsafeRawBufferPointer, _ target: Range<Int>
    ) throws(Malformed) {
        let text = UnsafeRawBufferPointer(rebasing: bytes[target])
        if text.contains(UInt8(ascii: "#")) {
            throw Malformed("the request target has a fragment: a # in a key must be percent-encoded, as %23")
        }
        var path = target.lowerBound
        if text[0] != UInt8(ascii: "/") {
            if method == .other, ASCII.equals(text, "*") { return }
            path += try RequestHead.authorityEnd(text)
        }
        var pathEnd = path
        while pathEnd < target.upperBound, bytes[pathEnd] != UInt8(ascii: "?") { pathEnd += 1 }
        if pathEnd < target.upperBound {
            hasQuery = true
            query = ByteRange(pathEnd + 1, target.upperBound)
        }
        let name = UnsafeRawBufferPointer(rebasing: bytes[path..<pathEnd])
        if ASCII.equals(name, "/increment") {
            route = .increment
        } else if ASCII.equals(name, "/increments") {
            route = .increments
        } else if ASCII.equals(name, "/livez") {
            route = .livez
        } else if ASCII.equals(name, "/readyz") {
            route = .readyz
        } else if ASCII.equals(name, "/ledger") {
            route = .ledger
        } else if ASCII.equals(name, "/status") {
            route = .status
        } else if ASCII.equals(name, "/metrics") {
            route = .metrics
        }
    }

    /// Where the path of `http://authority/path` begins.
    private static func authorityEnd(_ text: UnsafeRawBufferPointer) throws(Malformed) -> Int {
        for scheme: StaticString in ["http://", "https://"] {
            let length = scheme.utf8CodeUnitCount
            guard text.count > length, ASCII.matches(UnsafeRawBufferPointer(rebasing: text[..<length]), scheme) else {
                continue
            }
            let rest = text[length...]
            let end = rest.firstIndex { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") } ?? text.count
            guard isAuthority(UnsafeRawBufferPointer(rebasing: rest[..<end])), end > length else { break }
            return end
        }
        throw Malformed("the request target is neither a path nor an http URL")
    }

    /// Only the alphabet is checked: nothing is routed by the host (but see `HostRules`).
    private static func isAuthority(_ text: UnsafeRawBufferPointer) -> Bool {
        for byte in text where !ASCII.isAuthority(byte) { return false }
        return true
    }

    private func isDigit(_ byte: UInt8) -> Bool { byte &- UInt8(ascii: "0") < 10 }

    // MARK: Fields

    /// The two parts of a field line, the value without surrounding white space.
    static func splitField(
        _ bytes: UnsafeRawBufferPointer, _ line: Range<Int>
    ) throws(Malformed) -> (name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer, start: Int) {
        var index = line.lowerBound
        while index < line.upperBound, ASCII.isToken(bytes[index]) { index += 1 }
        let name = UnsafeRawBufferPointer(rebasing: bytes[line.lowerBound..<index])
        guard !name.isEmpty, index < line.upperBound, bytes[index] == UInt8(ascii: ":") else {
            if name.isEmpty, bytes[index] == ASCII.space || bytes[index] == ASCII.tab {
                throw Malformed("a folded header line")
            }
            throw Malformed("a header line does not begin with a name and a colon")
        }
        var start = index + 1
        var end = line.upperBound
        while start < end, bytes[start] == ASCII.space || bytes[start] == ASCII.tab { start += 1 }
        while end > start, bytes[end - 1] == ASCII.space || bytes[end - 1] == ASCII.tab { end -= 1 }
        for index in start..<end where !ASCII.isFieldValue(bytes[index]) {
            throw Malformed("a control byte in a header field")
        }
        return (name, UnsafeRawBufferPointer(rebasing: bytes[start..<end]), start)
    }

    /// A field behind a chunked body means nothing here, and may not be one that would say where the request ends or
    /// where it goes (RFC 9110, section 6.5.1): other parsers read some of those like any other.
    static func checkTrailer(_ bytes: UnsafeRawBufferPointer, _ line: Range<Int>) throws(Malformed) {
        let name = try splitField(bytes, line).name
        let framing: [StaticString] = ["content-length", "transfer-encoding", "connection", "upgrade", "host"]
        for word in framing where ASCII.matches(name, word) {
            throw Malformed("a trailer field that belongs into the head")
        }
    }

    mutating func readField(_ bytes: UnsafeRawBufferPointer, _ line: Range<Int>) throws(Malformed) {
        let (name, value, start) = try RequestHead.splitField(bytes, line)
        switch name.count {
        case 4 where ASCII.matches(name, "host"):
            try readHost(value)
            host = ByteRange(start, start + value.count)
        case 6 where ASCII.matches(name, "origin"):
            if hasOrigin { throw Malformed("there is more than one Origin") }
            hasOrigin = true
            origin = ByteRange(start, start + value.count)
        case 6 where ASCII.matches(name, "expect"): try readExpect(value)
        case 6 where ASCII.matches(name, "prefer"): try readPrefer(value)
        case 10 where ASCII.matches(name, "connection"): readConnection(value)
        case 12 where ASCII.matches(name, "content-type"): try readContentType(value)
        case 13 where ASCII.matches(name, "authorization"):
            if hasAuthorization { throw Malformed("there is more than one Authorization") }
            hasAuthorization = true
            authorization = ByteRange(start, start + value.count)
        case 14 where ASCII.matches(name, "content-length"):
            if RequestHead.hasTab(bytes, line) { throw Malformed("the Content-Length is not a number") }
            try readContentLength(value)
        case 14 where ASCII.matches(name, "sec-fetch-site"):
            if ASCII.matches(value, "cross-site") { isCrossSite = true }
        case 15 where ASCII.matches(name, "idempotency-key"):
            if hasIdempotencyKey { throw Malformed("there is more than one Idempotency-Key") }
            hasIdempotencyKey = true
            idempotencyKey = ByteRange(start, start + value.count)
        case 16 where ASCII.matches(name, "content-encoding"):
            if !ASCII.matches(value, "identity") { isEncoded = true }
        case 17 where ASCII.matches(name, "transfer-encoding"):
            if isChunked || !ASCII.matches(value, "chunked") || RequestHead.hasTab(bytes, line) {
                throw Malformed("the only Transfer-Encoding understood is one that is exactly chunked")
            }
            isChunked = true
        default: break
        }
    }

    /// A tab is white space, says RFC 9110; but some parsers refuse one beside a length or a transfer coding, and what
    /// parsers read differently is refused here.
    private static func hasTab(_ bytes: UnsafeRawBufferPointer, _ line: Range<Int>) -> Bool {
        for index in line where bytes[index] == ASCII.tab { return true }
        return false
    }

    private mutating func readHost(_ value: UnsafeRawBufferPointer) throws(Malformed) {
        if hasHost { throw Malformed("there is more than one Host") }
        if !RequestHead.isAuthority(value) { throw Malformed("the Host is not a name and a port") }
        hasHost = true
    }

    private mutating func readExpect(_ value: UnsafeRawBufferPointer) throws(Malformed) {
        if !ASCII.matches(value, "100-continue") {
            throw Malformed(.expectationFailed, "the only expectation met is 100-continue")
        }
        expectsContinue = true
    }

    private mutating func readConnection(_ value: UnsafeRawBufferPointer) {
        for option in value.split(separator: UInt8(ascii: ",")) {
            let option = ASCII.trimmed(UnsafeRawBufferPointer(rebasing: option))
            if ASCII.matches(option, "close") { asksToClose = true }
            if ASCII.matches(option, "keep-alive") { asksToKeepAlive = true }
        }
    }

    private mutating func readContentType(_ value: UnsafeRawBufferPointer) throws(Malformed) {
        if mediaType != .none { throw Malformed("there is more than one Content-Type") }
        var end = 0
        while end < value.count, value[end] != UInt8(ascii: ";") { end += 1 }
        let type = ASCII.trimmed(UnsafeRawBufferPointer(rebasing: value[..<end]))
        if ASCII.matches(type, "application/x-www-form-urlencoded") {
            mediaType = .form
        } else if ASCII.matches(type, "application/json") {
            mediaType = .json
        } else if ASCII.matches(type, "application/x-ndjson") {
            mediaType = .ndjson
        } else {
            mediaType = ASCII.matches(type, "text/plain") ? .text : .other
        }
    }

    private mutating func readContentLength(_ value: UnsafeRawBufferPointer) throws(Malformed) {
        if contentLength != nil { throw Malformed("there is more than one Content-Length") }
        var length = 0
        for byte in value {
            guard isDigit(byte) else { throw Malformed("the Content-Length is not a number") }
            let (scaled, tooLarge) = length.multipliedReportingOverflow(by: 10)
            let (next, stillTooLarge) = scaled.addingReportingOverflow(Int(byte - UInt8(ascii: "0")))
            length = tooLarge || stillTooLarge || length == .max ? .max : next
        }
        if value.isEmpty { throw Malformed("the Content-Length is not a number") }
        contentLength = length
    }

    /// What can only be judged when all fields are known.
    func check() throws(Malformed) {
        if !hasHost, !isHTTP10 { throw Malformed("there is no Host") }
        if isChunked, contentLength != nil { throw Malformed("both Content-Length and Transfer-Encoding") }
        if isChunked, isHTTP10 { throw Malformed("Transfer-Encoding in HTTP/1.0") }
    }
}
