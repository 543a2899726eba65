// The bodies with a grammar of their own: JSON, NDJSON and lines.

import TallyCore

#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

extension IncrementReader {
    private enum Member {
        case end, taken, unknown, repeated
    }

    /// A body that is one `{"key","value"}`.
    mutating func readObject(_ body: UnsafeRawBufferPointer) throws(Problem) {
        var scanner = JSONScanner(body)
        try readMembers(&scanner)
        do throws(JSONError) { try scanner.finish() } catch { throw problem(error) }
    }

    /// `{"K":N,...}` or `[{"key","value"},...]`.
    mutating func readCollection(
        _ body: UnsafeRawBufferPointer, into increments: inout IncrementBuffer
    ) throws(Problem) {
        var scanner = JSONScanner(body)
        let kind: JSONKind
        beginEntry()
        do throws(JSONError) { kind = try scanner.nextKind() } catch { throw problem(error) }
        switch kind {
        case .object: try readCounters(&scanner, into: &increments)
        case .array: try readEntries(&scanner, into: &increments)
        case .string, .number, .boolean, .null:
            index = nil
            throw problem(.unprocessableContent, "an object or an array was expected and \(kind) found")
        }
        beginEntry()
        do throws(JSONError) { try scanner.finish() } catch { throw problem(error) }
    }

    private mutating func readCounters(
        _ scanner: inout JSONScanner, into increments: inout IncrementBuffer
    ) throws(Problem) {
        do throws(JSONError) { try scanner.beginObject() } catch { throw problem(error) }
        while true {
            beginEntry()
            do throws(JSONError) {
                hasKey = try scanner.nextName(into: &key)
            } catch {
                throw problem(error)
            }
            if !hasKey { return }
            number = try readNumber(&scanner)
            try endEntry(&increments)
        }
    }

    private mutating func readEntries(
        _ scanner: inout JSONScanner, into increments: inout IncrementBuffer
    ) throws(Problem) {
        do throws(JSONError) { try scanner.beginArray() } catch { throw problem(error) }
        while true {
            beginEntry()
            let hasNext: Bool
            do throws(JSONError) { hasNext = try scanner.nextElement() } catch { throw problem(error) }
            if !hasNext { return }
            try readMembers(&scanner)
            try endEntry(&increments)
        }
    }

    /// The members of one `{"key","value"}`, in any order.
    private mutating func readMembers(_ scanner: inout JSONScanner) throws(Problem) {
        do throws(JSONError) { try scanner.beginObject() } catch { throw problem(error) }
        while true {
            switch try nextMember(&scanner) {
            case .end: return
            case .taken: continue
            case .unknown: throw unknownField()
            case .repeated: throw repeatedField()
            }
        }
    }

    private mutating func nextMember(_ scanner: inout JSONScanner) throws(Problem) -> Member {
        do throws(JSONError) {
            guard try scanner.nextName(into: &name) else { return .end }
            if IncrementReader.isName(name, "key") {
                if hasKey { return .repeated }
                try scanner.string(into: &key)
                hasKey = true
                return .taken
            }
        } catch {
            throw problem(error)
        }
        guard IncrementReader.isName(name, "value") else { return .unknown }
        if number != nil { return .repeated }
        number = try readNumber(&scanner)
        return .taken
    }

    /// A number, or a string of decimal digits: the numbers of JavaScript are exact up to 2^53 only.
    private mutating func readNumber(_ scanner: inout JSONScanner) throws(Problem) -> Int64 {
        do throws(JSONError) {
            guard try scanner.nextKind() == .string else { return try scanner.integer() }
            try scanner.string(into: &value)
        } catch {
            throw problem(error)
        }
        do throws(IntegerProblem) { return try DecimalText.integer(value) } catch { throw problem(error) }
    }

    private func problem(_ error: JSONError) -> Problem {
        problem(error.isSyntax ? .badRequest : .unprocessableContent, "\(error)")
    }

    // MARK: Lines

    mutating func readLines(
        _ head: RequestHead, _ body: UnsafeRawBufferPointer, into increments: inout IncrementBuffer
    ) throws(Problem) {
        let isJSON = head.mediaType == .ndjson
        guard let base = body.baseAddress else { return }
        var start = 0
        var number = 0
        while start < body.count {
            let found = memchr(base + start, Int32(ASCII.lineFeed), body.count - start)
            let next = found.map { UnsafeRawPointer($0) - base + 1 } ?? body.count
            var end = found == nil ? next : next - 1
            if end > start, body[end - 1] == ASCII.carriageReturn { end -= 1 }
            number += 1
            if end > start {
                line = number
                if found == nil, head.isChunked { throw unendedLine() }
                let text = UnsafeRawBufferPointer(rebasing: body[start..<end])
                if isJSON {
                    beginEntry()
                    try readObject(text)
                    try endEntry(&increments)
                } else {
                    try readLine(text, into: &increments)
                }
            }
            start = next
        }
    }

    private mutating func unendedLine() -> Problem {
        beginEntry()
        return problem(
            .badRequest, "the line has no end: in chunked coding it needs one, because it may have been cut off")
    }

    /// A key and a number, by the grammar of `TextLine`.
    private mutating func readLine(
        _ text: UnsafeRawBufferPointer, into increments: inout IncrementBuffer
    ) throws(Problem) {
        hasKey = false
        let parts: TextLine
        do throws(TextLineProblem) { parts = try TextLine(text) } catch { throw problem(.badRequest, "\(error)") }
        do throws(Problem) {
            let delta = try integer(parts.value)
            if let error = increments.append(key: parts.key, delta: delta) { throw problem(error) }
            try count(increments)
        } catch {
            var error = error
            if !parts.key.isEmpty { error.key = Array(parts.key) }
            throw error
        }
    }
}
