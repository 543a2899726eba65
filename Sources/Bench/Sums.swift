// The oracle of a run: by key, what was acknowledged, and what may have been counted or not.
//
// An acknowledged increment counts once, a refused one never. Of a request whose answer was lost, each increment may
// count: so the difference of the totals lies between what was acknowledged plus the negative, and plus the positive
// unknown increments of the key. Without unknown ones both bounds are the same number.

import TallyCore

/// What became of a request.
enum Fate: Hashable {
    case acknowledged
    case refused
    case unknown
}

/// Sums by the number of the key.
struct Sums: Sendable {
    private(set) var acknowledged: [Int64]
    /// Empty until the first unknown increment.
    private(set) var unknownNegative: [Int64] = []
    private(set) var unknownPositive: [Int64] = []

    init(keys: Int) {
        acknowledged = Array(repeating: 0, count: keys)
    }

    /// - Note: 2^49 increments of one key do not overflow.
    mutating func add(_ increments: some Sequence<PendingIncrement>, _ fate: Fate) {
        switch fate {
        case .refused: return
        case .acknowledged:
            for increment in increments { acknowledged[Int(increment.key)] += Int64(increment.delta) }
        case .unknown:
            makeRoomForUnknown()
            for increment in increments {
                unknownNegative[Int(increment.key)] += Int64(min(0, increment.delta))
                unknownPositive[Int(increment.key)] += Int64(max(0, increment.delta))
            }
        }
    }

    mutating func add(_ other: Sums) {
        for key in acknowledged.indices { acknowledged[key] += other.acknowledged[key] }
        if other.unknownNegative.isEmpty { return }
        makeRoomForUnknown()
        for key in acknowledged.indices {
            unknownNegative[key] += other.unknownNegative[key]
            unknownPositive[key] += other.unknownPositive[key]
        }
    }

    private mutating func makeRoomForUnknown() {
        guard unknownNegative.isEmpty else { return }
        unknownNegative = Array(repeating: 0, count: acknowledged.count)
        unknownPositive = unknownNegative
    }

    /// By how much a key's total may have grown.
    func bounds(_ key: Int) -> ClosedRange<Int128> {
        let sum = Int128(acknowledged[key])
        if unknownNegative.isEmpty { return sum...sum }
        return sum + Int128(unknownNegative[key])...sum + Int128(unknownPositive[key])
    }

    /// The keys whose totals did not grow by what they should have.
    func differences(before: [Int64], after: [Int64]) -> [Difference] {
        precondition(before.count == acknowledged.count && after.count == acknowledged.count, "other keys")
        var found: [Difference] = []
        for key in acknowledged.indices {
            let grown = Int128(after[key]) - Int128(before[key])
            let bounds = bounds(key)
            if !bounds.contains(grown) { found.append(Difference(key: key, grown: grown, bounds: bounds)) }
        }
        return found
    }
}

/// A key whose total is wrong.
public struct Difference: Hashable, Sendable {
    /// The number of the key.
    public let key: Int
    public let grown: Int128
    public let bounds: ClosedRange<Int128>

    /// - Parameter keysPrefix: what the key begins with.
    public func sentence(keysPrefix: String) -> String {
        let name = "\(keysPrefix)\(key)"
        if bounds.lowerBound == bounds.upperBound {
            return "\(name): the total grew by \(grown), \(bounds.lowerBound) was acknowledged"
        }
        return "\(name): the total grew by \(grown), \(bounds.lowerBound) to \(bounds.upperBound) was acknowledged "
            + "or is unknown"
    }
}

/// The totals of a run's keys, by their number.
struct KeyTotals {
    private(set) var values: [Int64]
    private let prefixBytes: Int

    init(keys: Int, keysPrefix: String) {
        values = Array(repeating: 0, count: keys)
        prefixBytes = keysPrefix.utf8.count
    }

    /// Takes a counter whose key begins with the prefix; those of other numbers or names are not the run's.
    mutating func take(_ key: [UInt8], _ value: Int64) {
        let digits = key.dropFirst(prefixBytes)
        guard digits.count == 1 || digits.first != UInt8(ascii: "0") else { return }
        guard case .value(let number) = digits.withUnsafeBytes(DecimalText.int64), number >= 0,
            digits.first != UInt8(ascii: "-"), number < values.count
        else { return }
        values[Int(number)] = value
    }
}
