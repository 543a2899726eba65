// `name=value` pairs of a query or a form body (WHATWG URL, application/x-www-form-urlencoded).
//
// Each part is percent-decoded exactly once, after the pairs have been split; `+` is a space. Empty pairs are
// skipped, as browsers write them.

import TallyCore

struct FormFields {
    private let bytes: UnsafeRawBufferPointer
    private var offset = 0

    init(_ bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes
    }

    /// The next pair, still encoded; a name without `=` has an empty value.
    mutating func next() -> (name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer)? {
        while offset < bytes.count {
            let start = offset
            var equals: Int?
            while offset < bytes.count, bytes[offset] != UInt8(ascii: "&") {
                if equals == nil, bytes[offset] == UInt8(ascii: "=") { equals = offset }
                offset += 1
            }
            let end = offset
            offset += 1
            if start == end { continue }
            return (
                UnsafeRawBufferPointer(rebasing: bytes[start..<(equals ?? end)]),
                UnsafeRawBufferPointer(rebasing: bytes[min((equals ?? end) + 1, end)..<end])
            )
        }
        return nil
    }

    enum Decoding {
        case done, badPercent, notUTF8
    }

    /// Replaces `output` with `raw`, decoded once.
    static func decode(_ raw: UnsafeRawBufferPointer, into output: inout [UInt8]) -> Decoding {
        output.removeAll(keepingCapacity: true)
        var index = 0
        var plain = 0
        while index < raw.count {
            let byte = raw[index]
            guard byte == UInt8(ascii: "%") || byte == UInt8(ascii: "+") else {
                index += 1
                continue
            }
            output.append(contentsOf: raw[plain..<index])
            if byte == UInt8(ascii: "+") {
                output.append(ASCII.space)
                index += 1
            } else {
                guard index + 2 < raw.count, let high = Hex.value(raw[index + 1]), let low = Hex.value(raw[index + 2])
                else { return .badPercent }
                output.append(high << 4 | low)
                index += 3
            }
            plain = index
        }
        output.append(contentsOf: raw[plain...])
        return JSONText.isUTF8(output) ? .done : .notUTF8
    }
}
