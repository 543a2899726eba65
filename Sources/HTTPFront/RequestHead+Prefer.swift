// `Prefer: wait=S` (RFC 7240): how many seconds a client is willing to wait for its level.
//
// preference = token [ = word ] *( ; parameter ), separated by commas; a word is a token or a quoted string. Other
// preferences, parameters and repeats are ignored, as the RFC asks; a `wait` that is no number of seconds is
// refused, because its sender would be surprised by the default.

extension RequestHead {
    mutating func readPrefer(_ value: UnsafeRawBufferPointer) throws(Malformed) {
        var start = 0
        while start < value.count {
            let end = RequestHead.endOfPreference(value, from: start)
            var word = UnsafeRawBufferPointer(rebasing: value[start..<end])
            if let parameters = word.firstIndex(of: UInt8(ascii: ";")) {
                word = UnsafeRawBufferPointer(rebasing: word[..<parameters])
            }
            try readPreference(word)
            start = end + 1
        }
    }

    /// The next comma outside a quoted string, or the end.
    private static func endOfPreference(_ value: UnsafeRawBufferPointer, from start: Int) -> Int {
        var index = start
        var isQuoted = false
        while index < value.count {
            switch value[index] {
            case UInt8(ascii: "\""): isQuoted.toggle()
            case UInt8(ascii: "\\") where isQuoted: index += 1
            case UInt8(ascii: ",") where !isQuoted: return index
            default: break
            }
            index += 1
        }
        return value.count
    }

    private mutating func readPreference(_ preference: UnsafeRawBufferPointer) throws(Malformed) {
        let equals = preference.firstIndex(of: UInt8(ascii: "=")) ?? preference.count
        let name = ASCII.trimmed(UnsafeRawBufferPointer(rebasing: preference[..<equals]))
        guard ASCII.matches(name, "wait"), waitSeconds == nil else { return }
        let rest = UnsafeRawBufferPointer(rebasing: preference[min(equals + 1, preference.count)...])
        var word = ASCII.trimmed(rest)
        if word.count >= 2, word.first == UInt8(ascii: "\""), word.last == UInt8(ascii: "\"") {
            word = UnsafeRawBufferPointer(rebasing: word[1..<word.count - 1])
        }
        var seconds: UInt32 = 0
        for byte in word {
            let digit = byte &- UInt8(ascii: "0")
            if digit > 9 { throw Malformed("Prefer: wait is not a number of seconds") }
            seconds = min(seconds * 10 + UInt32(digit), 1_000_000)
        }
        if word.isEmpty { throw Malformed("Prefer: wait is not a number of seconds") }
        waitSeconds = seconds
    }
}
