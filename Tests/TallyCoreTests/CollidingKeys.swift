// Keys that a client computes to share all 64 bits of the published hash.
//
// Each of the four lanes of XXH64 takes every fourth word. For any two words in a row, and any other first word, there
// is exactly one second word after which the lane is in the same state: the rounds can be undone. Those whose bytes may
// stand in a key are kept, one in some thousands. A few such pairs for each lane make as many keys of 64 bytes as their
// product.

import Testing

@testable import TallyCore

enum CollidingKeys {
    static let prime1: UInt64 = 0x9E37_79B1_85EB_CA87
    static let prime2: UInt64 = 0xC2B2_AE3D_27D4_EB4F

    /// At least `count` keys of 64 printable bytes and one hash.
    static func make(_ count: Int, seed: UInt64) -> [[UInt8]] {
        var generator = SplitMix64(seed: seed)
        var choices = 1
        while choices * choices * choices * choices < count { choices += 1 }
        let starts = [prime1 &+ prime2, prime2, 0, 0 &- prime1]
        let lanes = starts.map { pairs(choices, from: $0, &generator) }
        return (0..<count).map { number in
            var rest = number
            var words = [UInt64](repeating: 0, count: 8)
            for lane in 0..<4 {
                (words[lane], words[lane + 4]) = lanes[lane][rest % choices]
                rest /= choices
            }
            return words.flatMap { word in withUnsafeBytes(of: word.littleEndian) { Array($0) } }
        }
    }

    /// Different pairs of words that bring a lane from `start` to one state.
    private static func pairs(
        _ count: Int, from start: UInt64, _ generator: inout SplitMix64
    ) -> [(UInt64, UInt64)] {
        let end = round(round(start, printable(&generator)), printable(&generator))
        var found: [(UInt64, UInt64)] = []
        while found.count < count {
            let first = printable(&generator)
            let second = (unround(end) &- round(start, first)) &* inverse(prime2)
            if isPrintable(second), !found.contains(where: { $0.0 == first }) { found.append((first, second)) }
        }
        return found
    }

    static func round(_ lane: UInt64, _ word: UInt64) -> UInt64 { rotate(lane &+ word &* prime2, 31) &* prime1 }

    /// The lane and its word times `prime2`, from what a round makes of them.
    static func unround(_ lane: UInt64) -> UInt64 { rotate(lane &* inverse(prime1), 33) }

    static func rotate(_ value: UInt64, _ bits: UInt64) -> UInt64 { (value << bits) | (value >> (64 - bits)) }

    /// What undoes a multiplication by an odd number (Newton).
    static func inverse(_ odd: UInt64) -> UInt64 {
        var inverse = odd
        for _ in 0..<5 { inverse = inverse &* (2 &- odd &* inverse) }
        return inverse
    }

    private static func printable(_ generator: inout SplitMix64) -> UInt64 {
        var random = generator.next()
        var word: UInt64 = 0
        for _ in 0..<8 {
            word = word << 8 | (0x21 + random % 93)
            random /= 93
        }
        return word
    }

    private static func isPrintable(_ word: UInt64) -> Bool {
        var rest = word
        for _ in 0..<8 {
            if !(0x21...0x7E).contains(rest & 0xFF) { return false }
            rest >>= 8
        }
        return true
    }
}
