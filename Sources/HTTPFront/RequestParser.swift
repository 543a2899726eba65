// The framing of HTTP/1.1 requests (RFC 9112): one strict incremental parser over bytes, for every request.
//
// It works in place on the bytes of a read and copies nothing but chunked bodies. The caller passes the bytes from
// the first byte of the request and calls again with more of them; `position` remembers what is done, so a
// request costs the same in one piece or byte by byte, and its meaning never depends on where it was cut.
//
// Strictness is the protection against request smuggling: whatever two parsers could read differently is refused,
// and after a refusal the connection closes. Lines end with CRLF and nothing else; there is one Content-Length of
// digits or the one transfer coding `chunked`, never both; field names touch their colon; no line is folded.
// One empty line before a request is skipped, as RFC 9112, section 2.2 asks.

import TallyCore

#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

/// Reads one request; a new one is made for the next.
struct RequestParser: ~Copyable {
    enum Progress {
        case needsMore
        /// The head is complete and consistent; `advance` goes on with the body.
        case head
        /// The request ends after this many bytes.
        case complete(bytes: Int)
    }

    private enum Phase: UInt8 {
        case requestLine, fields, body, chunkSize, chunkData, chunkEnd, trailer
    }

    private(set) var head = RequestHead()
    /// The body so far, when it is chunked.
    private(set) var decoded: [UInt8] = []
    private var phase = Phase.requestLine
    /// Everything before it has been read.
    private var position = 0
    /// Bytes after `position` that hold no line end.
    private var searched = 0
    private var fieldBytes = 0
    private var fieldCount = 0
    private var extensionBytes = 0
    private var chunkRest = 0

    init() {}

    /// Goes on behind a head that was read before: what follows is its body.
    init(_ known: RequestHead) {
        head = known
        position = known.bodyStart
        phase = known.isChunked ? .chunkSize : .body
    }

    /// Whether nothing has been read.
    var isFresh: Bool { phase == .requestLine && position == 0 && searched == 0 }

    /// Whether the head is complete.
    var isInBody: Bool { phase.rawValue > Phase.fields.rawValue }

    /// Reads as far as `bytes` (from the request's first byte) go. After an error the parser is of no use.
    mutating func advance(_ bytes: UnsafeRawBufferPointer, _ limits: HTTPLimits) throws(Malformed) -> Progress {
        while true {
            switch phase {
            case .requestLine:
                let longest = limits.requestLineBytes
                guard let line = try nextLine(bytes, longest, .uriTooLong, "the request line") else {
                    return .needsMore
                }
                if line.isEmpty {
                    if line.lowerBound > 0 { throw Malformed("more than one empty line before the request line") }
                    continue
                }
                try head.readRequestLine(bytes, line)
                phase = .fields
            case .fields:
                guard let line = try nextFieldLine(bytes, limits) else { return .needsMore }
                if !line.isEmpty {
                    try head.readField(bytes, line)
                    continue
                }
                try head.check()
                if head.contentLength ?? 0 > limits.bodyBytes { throw Malformed.bodyTooLarge(limits) }
                head.bodyStart = position
                phase = head.isChunked ? .chunkSize : .body
                return .head
            case .body:
                let end = position + (head.contentLength ?? 0)
                return bytes.count < end ? .needsMore : .complete(bytes: end)
            case .chunkSize, .chunkData, .chunkEnd, .trailer:
                if let progress = try advanceChunked(bytes, limits) { return progress }
            }
        }
    }

    /// The body of a complete request; `bytes` as in `advance`.
    func withBody<Result>(
        _ bytes: UnsafeRawBufferPointer, _ use: (UnsafeRawBufferPointer) -> Result
    ) -> Result {
        if head.isChunked { return decoded.withUnsafeBytes(use) }
        let start = head.bodyStart
        return use(UnsafeRawBufferPointer(rebasing: bytes[start..<start + (head.contentLength ?? 0)]))
    }

    /// Notes with the head what `HostRules` say of it.
    mutating func note(_ stranger: Stranger) {
        head.stranger = stranger
    }

    /// Bytes that need not be passed again, and are forgotten with this call: chunks that were decoded.
    mutating func releaseDecodedChunks() -> Range<Int>? {
        guard head.isChunked, isInBody, position > head.bodyStart else { return nil }
        defer { position = head.bodyStart }
        return head.bodyStart..<position
    }

    // MARK: Lines

    /// The next line without its CRLF, or nil when it has not ended yet.
    private mutating func nextLine(
        _ bytes: UnsafeRawBufferPointer, _ longest: Int, _ status: Status, _ what: StaticString
    ) throws(Malformed) -> Range<Int>? {
        let start = position
        let length = lineFeed(bytes)
        // With its CR a line that fits has at most longest + 1 bytes before the LF.
        if length ?? (bytes.count - start - 1) > longest + 1 {
            throw Malformed(status, "\(what) is longer than \(longest) bytes")
        }
        guard let length else { return nil }
        if length == 0 || bytes[start + length - 1] != ASCII.carriageReturn {
            throw Malformed("a line ends with a line feed alone; CR LF is required")
        }
        position = start + length + 1
        searched = 0
        return start..<start + length - 1
    }

    /// How many bytes come before the next line feed.
    private mutating func lineFeed(_ bytes: UnsafeRawBufferPointer) -> Int? {
        let from = position + searched
        guard from < bytes.count, let base = bytes.baseAddress else { return nil }
        guard let found = memchr(base + from, Int32(ASCII.lineFeed), bytes.count - from) else {
            searched = bytes.count - position
            return nil
        }
        return UnsafeRawPointer(found) - (base + position)
    }

    /// The next field line of a head or a trailer, bounded in number and in sum.
    private mutating func nextFieldLine(
        _ bytes: UnsafeRawBufferPointer, _ limits: HTTPLimits
    ) throws(Malformed) -> Range<Int>? {
        let start = position
        let line: Range<Int>?
        do throws(Malformed) {
            let longest = max(limits.headerBytes - fieldBytes - 2, 0)
            line = try nextLine(bytes, longest, .headerFieldsTooLarge, "a header field")
        } catch {
            if error.status != .headerFieldsTooLarge { throw error }
            throw Malformed(error.status, "the header fields are longer than \(limits.headerBytes) bytes")
        }
        guard let line else { return nil }
        if line.isEmpty { return line }
        fieldBytes += position - start
        fieldCount += 1
        if fieldCount > limits.headerFields {
            throw Malformed(.headerFieldsTooLarge, "there are more than \(limits.headerFields) header fields")
        }
        return line
    }
}

extension RequestParser {
    /// One step through a chunked body; nil when another step can follow.
    private mutating func advanceChunked(
        _ bytes: UnsafeRawBufferPointer, _ limits: HTTPLimits
    ) throws(Malformed) -> Progress? {
        switch phase {
        case .chunkSize:
            let longest = limits.chunkLineBytes
            guard let line = try nextLine(bytes, longest, .badRequest, "a chunk size line") else { return .needsMore }
            try readChunkSize(UnsafeRawBufferPointer(rebasing: bytes[line]), limits)
        case .chunkData:
            let taken = min(chunkRest, bytes.count - position)
            decoded.append(contentsOf: bytes[position..<position + taken])
            position += taken
            chunkRest -= taken
            if chunkRest > 0 { return .needsMore }
            phase = .chunkEnd
        case .chunkEnd:
            for (index, expected) in [ASCII.carriageReturn, ASCII.lineFeed].enumerated() {
                guard position + index < bytes.count else { return .needsMore }
                if bytes[position + index] != expected { throw Malformed("a chunk is longer than its size") }
            }
            position += 2
            phase = .chunkSize
        case .trailer:
            guard let line = try nextFieldLine(bytes, limits) else { return .needsMore }
            if line.isEmpty { return .complete(bytes: position) }
            try RequestHead.checkTrailer(bytes, line)
        case .requestLine, .fields, .body:
            preconditionFailure("no part of a chunked body")
        }
        return nil
    }

    private mutating func readChunkSize(
        _ line: UnsafeRawBufferPointer, _ limits: HTTPLimits
    ) throws(Malformed) {
        var size = 0
        var digits = 0
        while digits < line.count, let digit = Hex.value(line[digits]) {
            size = size << 4 | Int(digit)
            digits += 1
            if digits > 15 { throw Malformed("a chunk size has more than 15 digits") }
        }
        if digits == 0 { throw Malformed("a chunk size is not hexadecimal") }
        if digits < line.count {
            if line[digits] != UInt8(ascii: ";") { throw Malformed("a chunk size is not hexadecimal") }
            try RequestParser.checkExtensions(UnsafeRawBufferPointer(rebasing: line[digits...]))
            extensionBytes += line.count - digits
            if extensionBytes > limits.chunkExtensionBytes {
                throw Malformed("the chunk extensions are longer than \(limits.chunkExtensionBytes) bytes")
            }
        }
        if size > limits.bodyBytes - decoded.count { throw Malformed.bodyTooLarge(limits) }
        chunkRest = size
        phase = size == 0 ? .trailer : .chunkData
        if size == 0 {
            fieldBytes = 0
            fieldCount = 0
        }
    }
}

extension RequestParser {
    /// `;name`, `;name=word` or `;name="quoted"`, any number of times, without white space between.
    private static func checkExtensions(_ text: UnsafeRawBufferPointer) throws(Malformed) {
        var index = 0
        func skipToken() -> Bool {
            let start = index
            while index < text.count, ASCII.isToken(text[index]) { index += 1 }
            return index > start
        }
        while index < text.count {
            var isValid = text[index] == UInt8(ascii: ";")
            index += 1
            isValid = isValid && skipToken()
            if isValid, index < text.count, text[index] == UInt8(ascii: "=") {
                index += 1
                isValid = skipToken() || skipQuoted(text, &index)
            }
            if !isValid { throw Malformed("a chunk extension is not a name or a name and a value") }
        }
    }

    /// Moves `index` behind the quoted string that begins there.
    private static func skipQuoted(_ text: UnsafeRawBufferPointer, _ index: inout Int) -> Bool {
        guard index < text.count, text[index] == UInt8(ascii: "\"") else { return false }
        index += 1
        while index < text.count, ASCII.isFieldValue(text[index]) {
            if text[index] == UInt8(ascii: "\"") {
                index += 1
                return true
            }
            index += text[index] == UInt8(ascii: "\\") ? 2 : 1
        }
        return false
    }
}

extension Malformed {
    static func bodyTooLarge(_ limits: HTTPLimits) -> Malformed {
        Malformed(.contentTooLarge, "the body is larger than \(limits.bodyBytes) bytes")
    }
}
