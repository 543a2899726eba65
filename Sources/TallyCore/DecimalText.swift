// Int64 as decimal digits, the one spelling that forms, lines and JSON share: `-?[0-9]+`.
//
// Leading zeros are read (JSON refuses them by its own grammar, before it comes here); a plus sign, spaces,
// separators and other digits of Unicode are not. Out of range is told apart from not a number, because a client
// can do something about the one and not about the other.

/// Reads and writes decimal integers.
public enum DecimalText {
    /// What bytes mean as an integer.
    public enum Reading: Hashable, Sendable {
        case value(Int64)
        case notAnInteger
        case outOfRange
    }

    public static func int64(_ bytes: UnsafeRawBufferPointer) -> Reading {
        let isNegative = bytes.first == UInt8(ascii: "-")
        let start = isNegative ? 1 : 0
        if bytes.count == start { return .notAnInteger }
        // Negative while reading, because Int64.min has no positive counterpart.
        var value: Int64 = 0
        var overflows = false
        for index in start..<bytes.count {
            let byte = bytes[index]
            guard isDigit(byte) else { return .notAnInteger }
            let digit = Int64(byte &- UInt8(ascii: "0"))
            if index - start < 18 {
                value = value &* 10 &- digit
                continue
            }
            let (scaled, tooLarge) = value.multipliedReportingOverflow(by: 10)
            let (next, stillTooLarge) = scaled.subtractingReportingOverflow(digit)
            overflows = overflows || tooLarge || stillTooLarge
            value = next
        }
        if isNegative { return overflows ? .outOfRange : .value(value) }
        return overflows || value == .min ? .outOfRange : .value(-value)
    }

    /// Appends the digits of `value`.
    @inlinable
    public static func append(_ value: some FixedWidthInteger, to output: inout [UInt8]) {
        if value < 0 { output.append(UInt8(ascii: "-")) }
        var rest = value.magnitude
        let start = output.count
        repeat {
            let (quotient, digit) = rest.quotientAndRemainder(dividingBy: 10)
            output.append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: digit))
            rest = quotient
        } while rest > 0
        output[start...].reverse()
    }

    @inline(__always)
    public static func isDigit(_ byte: UInt8) -> Bool {
        byte &- UInt8(ascii: "0") < 10
    }
}
