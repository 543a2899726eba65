// From the query and the body of a POST to increments: all of them, or a `Problem` that names the first wrong one.
//
// 400 is what does not parse (syntax, percent signs, UTF-8), 422 what parses and is refused. Decisions that the
// formats leave open:
// - Unknown or repeated names: 400 in a query, 422 in a form or a JSON entry; ignoring them would hide a typo.
// - Lines end with LF or CR LF, empty lines are skipped, in text and in NDJSON. The last end is optional, and so is one
//   behind a form. A line of text has the grammar of `TextLine`, as in `import`.
// - In chunked coding it is not: who stops in the middle of a body, and who passes such a body on, may still end the
//   chunks properly, and then `page 1000` that was cut to `page 1` looks whole. Lines and forms must show their end;
//   JSON does anyway.
// - A byte order mark at the beginning does not belong to the text, as in files.
// - A collection without increments (`[]`, `{}`, empty lines) is accepted and counts nothing. A body of lines without a
//   single byte is refused: a client that sends again what it has read from a pipe has nothing left of it.
// - A POST without any length is taken for one with an empty body when its query carries the increment.

import TallyCore

/// Reads increments; one per loop, because it owns the storage in which strings are decoded.
struct IncrementReader: ~Copyable {
    let limits: HTTPLimits
    /// Which line or entry is being read, from 0; nil in a request that has but one increment.
    var index: Int?
    var line: Int?
    var key: [UInt8] = []
    var name: [UInt8] = []
    var value: [UInt8] = []
    var hasKey = false
    var number: Int64?

    init(limits: HTTPLimits) {
        self.limits = limits
    }

    /// Appends what the request counts to `increments`, and returns the level asked for.
    mutating func read(
        _ head: RequestHead, query: UnsafeRawBufferPointer?, body: UnsafeRawBufferPointer,
        into increments: inout IncrementBuffer
    ) throws(Problem) -> Level {
        index = nil
        line = nil
        let body = IncrementReader.withoutMark(body)
        var level = Level.queued
        if let query {
            beginEntry()
            if let asked = try readQuery(query, takesIncrement: head.route == .increment) { level = asked }
            if hasKey || number != nil {
                if !body.isEmpty {
                    throw Problem(.badRequest, "both the query and the body carry an increment")
                }
                try endEntry(&increments)
                return level
            }
        }
        if head.contentLength == nil, !head.isChunked {
            throw Problem(.lengthRequired, "a POST needs a Content-Length or chunked transfer coding")
        }
        if head.route == .increment {
            try readOne(head, body, into: &increments)
        } else {
            try readMany(head, body, into: &increments)
        }
        return level
    }

    private mutating func readOne(
        _ head: RequestHead, _ body: UnsafeRawBufferPointer, into increments: inout IncrementBuffer
    ) throws(Problem) {
        beginEntry()
        switch head.mediaType {
        case .form: try readForm(IncrementReader.withoutLineEnd(body, isChunked: head.isChunked))
        case .json: try readObject(body)
        case .none where body.isEmpty: break
        case .none, .ndjson, .text, .other:
            throw Problem(
                .unsupportedMediaType,
                "/increment takes application/x-www-form-urlencoded or application/json")
        }
        try endEntry(&increments)
    }

    private mutating func readMany(
        _ head: RequestHead, _ body: UnsafeRawBufferPointer, into increments: inout IncrementBuffer
    ) throws(Problem) {
        index = 0
        switch head.mediaType {
        case .json: try readCollection(body, into: &increments)
        case .text, .ndjson:
            if body.isEmpty { throw Problem(.unprocessableContent, "the body is empty") }
            try readLines(head, body, into: &increments)
        case .none, .form, .other:
            throw Problem(
                .unsupportedMediaType, "/increments takes application/json, application/x-ndjson or text/plain")
        }
    }

    // MARK: The ends of a body

    private static func withoutMark(_ body: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        guard body.count >= 3, body[0] == 0xEF, body[1] == 0xBB, body[2] == 0xBF else { return body }
        return UnsafeRawBufferPointer(rebasing: body[3...])
    }

    /// A form without the one line end that may follow it.
    private static func withoutLineEnd(
        _ form: UnsafeRawBufferPointer, isChunked: Bool
    ) throws(Problem) -> UnsafeRawBufferPointer {
        guard form.last == ASCII.lineFeed else {
            if isChunked, let last = form.last, last != UInt8(ascii: "&") {
                throw Problem(
                    .lengthRequired,
                    "a form in chunked coding has no end: send a Content-Length, or a line end behind the form")
            }
            return form
        }
        let text = UnsafeRawBufferPointer(rebasing: form.dropLast())
        return text.last == ASCII.carriageReturn ? UnsafeRawBufferPointer(rebasing: text.dropLast()) : text
    }

    // MARK: One entry

    mutating func beginEntry() {
        key.removeAll(keepingCapacity: true)
        hasKey = false
        number = nil
    }

    mutating func endEntry(_ increments: inout IncrementBuffer) throws(Problem) {
        if !hasKey { throw problem(.unprocessableContent, "the key is missing") }
        guard let number else { throw problem(.unprocessableContent, "the value is missing") }
        if let error = key.withUnsafeBytes({ increments.append(key: $0, delta: number) }) { throw problem(error) }
        try count(increments)
    }

    /// After each increment: it is too late to be one too many, but nothing has been counted yet.
    mutating func count(_ increments: IncrementBuffer) throws(Problem) {
        if increments.count > limits.increments {
            throw problem(.contentTooLarge, "there are more than \(limits.increments) increments")
        }
        if let index { self.index = index + 1 }
    }

    func problem(_ error: KeyError) -> Problem {
        problem(error == .notUTF8 ? .badRequest : .unprocessableContent, "\(error)")
    }

    func integer(_ bytes: UnsafeRawBufferPointer) throws(Problem) -> Int64 {
        do throws(IntegerProblem) { return try DecimalText.integer(bytes) } catch { throw problem(error) }
    }

    func problem(_ error: IntegerProblem) -> Problem { problem(.unprocessableContent, "\(error)") }

    /// A problem with the entry being read.
    func problem(_ status: Status, _ detail: String) -> Problem {
        let place = line.map { "line \($0): " } ?? ""
        return Problem(status, place + detail, index: index, key: hasKey && !key.isEmpty ? key : nil)
    }

    // MARK: Pairs

    /// Reads `level`, and `key` and `value` where they are taken.
    private mutating func readQuery(
        _ query: UnsafeRawBufferPointer, takesIncrement: Bool
    ) throws(Problem) -> Level? {
        var level: Level?
        var fields = FormFields(query)
        while let (rawName, rawValue) = fields.next() {
            try check(FormFields.decode(rawName, into: &name))
            try check(FormFields.decode(rawValue, into: &value))
            let text = String(decoding: name, as: UTF8.self)
            let isRepeated: Bool
            switch text {
            case "level":
                isRepeated = level != nil
                level = Level(String(decoding: value, as: UTF8.self))
                if level == nil { throw Problem(.badRequest, "level is none of memory, queued and stored") }
            case "key" where takesIncrement: isRepeated = try !setKey()
            case "value" where takesIncrement: isRepeated = try !setValue()
            default: throw Problem(.badRequest, "unknown query parameter \(JSONText.quote(text))")
            }
            if isRepeated { throw Problem(.badRequest, "the query parameter \(JSONText.quote(text)) is repeated") }
        }
        return level
    }

    private mutating func readForm(_ body: UnsafeRawBufferPointer) throws(Problem) {
        var fields = FormFields(body)
        while let (rawName, rawValue) = fields.next() {
            // Names are hardly ever encoded, and plain digits never.
            if !hasKey, ASCII.equals(rawName, "key") {
                try check(FormFields.decode(rawValue, into: &key))
                hasKey = true
                continue
            }
            if number == nil, ASCII.equals(rawName, "value"), case .value(let value) = DecimalText.int64(rawValue) {
                number = value
                continue
            }
            try readEncodedField(rawName, rawValue)
        }
    }

    private mutating func readEncodedField(
        _ rawName: UnsafeRawBufferPointer, _ rawValue: UnsafeRawBufferPointer
    ) throws(Problem) {
        try check(FormFields.decode(rawName, into: &name))
        try check(FormFields.decode(rawValue, into: &value))
        let isNew: Bool
        if IncrementReader.isName(name, "key") {
            isNew = try setKey()
        } else if IncrementReader.isName(name, "value") {
            isNew = try setValue()
        } else {
            throw unknownField()
        }
        if !isNew { throw repeatedField() }
    }

    /// Takes `value` as the key; false when there is one already.
    private mutating func setKey() throws(Problem) -> Bool {
        if hasKey { return false }
        hasKey = true
        swap(&key, &value)
        return true
    }

    /// Takes `value` as the number; false when there is one already.
    private mutating func setValue() throws(Problem) -> Bool {
        if number != nil { return false }
        do throws(IntegerProblem) {
            number = try DecimalText.integer(value)
        } catch {
            // Whoever wrote `+5` sees no space in it.
            throw problem(.unprocessableContent, error == .spaces ? "\(error), + is one here" : "\(error)")
        }
        return true
    }

    private func check(_ decoding: FormFields.Decoding) throws(Problem) {
        switch decoding {
        case .done: return
        case .badPercent: throw problem(.badRequest, "a percent sign without two hexadecimal digits")
        case .notUTF8: throw problem(.badRequest, "a field is not valid UTF-8")
        }
    }

    func unknownField() -> Problem {
        problem(.unprocessableContent, "unknown field \(JSONText.quote(name))")
    }

    func repeatedField() -> Problem {
        problem(.unprocessableContent, "the field \(JSONText.quote(name)) is repeated")
    }

    static func isName(_ name: [UInt8], _ text: StaticString) -> Bool {
        name.withUnsafeBytes { ASCII.equals($0, text) }
    }
}
